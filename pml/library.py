"""The schemas that prompts refer to: added, planned, prepared with the states of their spans."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from minillm.checkpoint import LoadedModel
from minillm.errors import LoadError
from minillm.generate import never
from minillm.kv import KVCache, Placed
from pml.assembly import placed_segments
from pml.check import unknown_schema
from pml.context import State
from pml.conversation import Conversation
from pml.errors import Location, listed
from pml.learned import content, one_pass
from pml.measured import measured
from pml.plan import PromptPlan
from pml.planner import Planner, check_options
from pml.prompt import Prompt
from pml.quality import recompute_of
from pml.recompute import Recompute
from pml.schema import Schema
from pml.schemas import Changes, PromptSource, read_prompt, read_schema
from pml.segment_source import Encoding, Segments, SegmentSource
from pml.states import states_of
from pml.steps import Progress, Steps, finish
from pml.store import ModuleStore, SegmentKey, open_store


@dataclass(frozen=True)
class Prepared:
    """A prompt planned, the segments that it reuses, placed, and what had to be encoded first."""

    plan: PromptPlan
    placed: Sequence[Placed]
    encoding: Encoding


class Library:
    """What the answers of one model share.

    `attention` and `layout` override what a schema says; `fresh_anonymous` is the length up to
    which anonymous text behind an imported module is computed afresh. `quality` is `fast`,
    `balanced` or `exact` (`pml/quality.py`); `recompute` says instead what to compute again.
    `store` is where states are kept, or a folder for them: what it holds already need not be
    encoded. Except for schemas that are added as shared, no other `namespace` finds what
    this one has stored. Raises `LoadError` for a model whose states are of no use in another
    prompt, and `ValueError` for an option that there is not.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        attention: str | None = None,
        layout: str | None = None,
        fresh_anonymous: int = 16,
        quality: str = "fast",
        recompute: Recompute | None = None,
        store: ModuleStore | Path | str | None = None,
        namespace: str = "",
    ) -> None:
        if not isinstance(model, LoadedModel):
            raise TypeError(f"model is a {type(model).__name__}, expected what minillm.load gives")
        check_options(Schema(""), attention, layout)
        if fresh_anonymous < 0:
            raise ValueError(f"fresh_anonymous is {fresh_anonymous}, expected 0 or more tokens")
        if not isinstance(namespace, str):
            raise TypeError(f"namespace is a {type(namespace).__name__}, expected a str")
        scaling = model.config.rope_scaling
        if scaling is not None and model.config.follows_length:
            raise LoadError(
                f"{model.name}: its RoPE frequencies ({scaling.kind}) follow the text's length, so "
                "a key of one prompt is wrong in another and nothing can be reused; "
                "`minillm generate` runs this model in full prefill"
            )
        self.model = model
        if not isinstance(store, ModuleStore):
            store = open_store(store, device=model.transformer.device)
        self.store = store
        self._source = SegmentSource(model, store, namespace)
        self.schemas: dict[str, Planner] = {}
        self._otherwise: dict[str, Planner] = {}  # the same schemas, if headers are not as usual
        self._attention, self._layout = attention, layout
        self._fresh_anonymous = fresh_anonymous
        self._recompute = recompute_of(quality) if recompute is None else recompute
        self._learned: set[str] = set()
        self._changes: dict[str, Changes] = {}
        self._in_use = threading.Lock()

    def __repr__(self) -> str:
        known = listed(self.schemas, "and") or "none yet"
        return f"<{type(self).__name__} over {self.model.name!r}: schemas {known}>"

    def add_schema(self, source: str | bytes | Path | Schema, *, shared: bool = False) -> Schema:
        """Take a schema: a path, PML text (a str of it starts with `<`), or one built in code.
        Nothing is encoded yet. All namespaces find the states of one that is `shared`.

        Raises `PMLError` for what is wrong with it, `LoadError` for a layout that moves states of a
        model whose states cannot be moved. A schema of the same name is replaced: what is
        the same in both keeps its states, and `changes` tells what is not.
        """
        schema = read_schema(source)
        before = self.schemas.get(schema.name)
        planner = self._laid_out(schema, in_full=self._recompute.unseen)
        self._check_movable(planner)
        self._changes[schema.name] = Changes.between(before, planner)
        self.schemas[schema.name] = planner
        self._otherwise.pop(schema.name, None)
        if shared:
            self._source.share(planner.states.all)
        return schema

    def _laid_out(self, schema: Schema, *, in_full: bool) -> Planner:
        """`in_full`: for full prefill, where modules have no header."""
        tokenizer = self.model.tokenizer
        return Planner.of(
            schema,
            tokenizer.with_header(()) if in_full else tokenizer,
            self.model.config.max_positions,
            attention=self._attention,
            layout=self._layout,
            fresh_anonymous=self._fresh_anonymous,
        )

    def plan(
        self,
        prompt: PromptSource,
        file: str = "<prompt>",
        *,
        recompute: Recompute | None = None,
    ) -> PromptPlan:
        """The prompt resolved against its schema: `Planner.plan`, which see.

        `recompute` is taken instead of the library's own. Where it has to be measured, what the
        prompt needs is encoded first.
        """
        return finish(self._planning(prompt, file, recompute))[0]

    def full_plan(self, prompt: PromptSource) -> PromptPlan:
        """A plan whose selected tokens are those of full prefill: of modules without a header."""
        prompt = read_prompt(prompt)
        return self._planner_for(prompt, in_full=True).plan(prompt)

    def prepare(self, prompt: PromptSource | PromptPlan) -> Steps[Prepared]:
        """Plan a prompt and encode what it needs and the store lacks, step by step."""
        measuring = None
        if isinstance(prompt, PromptPlan):
            plan = prompt
        else:
            plan, measuring = yield from self._planning(prompt)
        segments, encoding = yield from self._source.segments(plan.states)
        encoding = measuring or encoding  # which then found all of it stored
        return Prepared(plan, placed_segments(plan, segments), encoding)

    def _planning(
        self,
        prompt: PromptSource,
        file: str = "<prompt>",
        recompute: Recompute | None = None,
    ) -> Steps[tuple[PromptPlan, Encoding | None]]:
        """The plan, and what had to be encoded to measure what it computes again."""
        prompt = read_prompt(prompt, file)
        wanted = self._recompute if recompute is None else recompute
        planner = self._planner_for(prompt, in_full=wanted.unseen)
        plan = planner.plan(prompt, wanted, self._learned)
        if not wanted.is_measured:
            return plan, None
        segments, encoding = yield from self._source.segments(plan.states)
        wanted = self._measured(plan, segments, wanted)
        return planner.plan(prompt, wanted, self._learned), encoding

    def _measured(
        self, plan: PromptPlan, segments: Segments, wanted: Recompute, start: int = 0
    ) -> Recompute:
        """`wanted` with the positions from `start` on that only the states could tell."""
        model = self.model.transformer
        found = measured(model, plan, segments, wanted, self._scratch, start)
        return replace(wanted, positions=wanted.positions | found)

    @cached_property
    def _scratch(self) -> KVCache:
        """Where what is to be computed afresh is measured; warm from one prompt to the next."""
        return self.model.transformer.new_cache()

    def learn(self, plan: PromptPlan, progress: Progress | None = None) -> Encoding:
        """Keep what a served prompt held, for later ones that begin with the same content: every
        piece of it is encoded seeing all before it. Only prompts under `attention="learned"` use
        that."""
        pieces = content(plan.placed, plan.texts)
        nodes = [*one_pass(pieces)]
        _, encoding = self.segments([node.state for node in nodes], progress)
        self._learned |= {node.key for node in nodes}
        return encoding

    def is_stored(self, state: State) -> bool:
        return self.key_of(state) in self.store

    def key_of(self, state: State) -> SegmentKey:
        return self._source.key_of(state)

    def missing(self, plan: PromptPlan) -> list[State]:
        """The states that `plan` needs and the store lacks."""
        return [state for state in plan.states if not self.is_stored(state)]

    def prefetch(self, name: str, path: str = "/") -> None:
        """Begin to bring what is stored of the schema `name` from `path` on, such as the members of
        a union one of which the next prompt will import, from where it would take time."""
        below = path.rstrip("/") + "/"
        states = self._planner(name).usable
        wanted = (state for state in states if f"{state.path}/".startswith(below))
        self.store.prefetch(self.key_of(state) for state in wanted)

    def encode_schema(
        self,
        name: str,
        progress: Progress | None = None,
        *,
        cancelled: Callable[[], bool] = never,
    ) -> Encoding:
        """Encode all states that prompts of a schema can use and the store lacks, as many to a
        forward as fit. `cancelled` is asked before each forward: raises `Cancelled`, and keeps the
        states that are complete. Where memory cannot hold them together, they are encoded one by
        one into a store that lasts; without one it raises `StoreFull`."""
        return finish(self._source.encode(self._planner(name).usable), progress, cancelled)

    def encode(
        self,
        plan: PromptPlan,
        progress: Progress | None = None,
        *,
        cancelled: Callable[[], bool] = never,
    ) -> Encoding:
        """Encode what `plan` needs and the store lacks. `cancelled`: see `encode_schema`."""
        return self.segments(plan.states, progress, cancelled=cancelled)[1]

    def segments(
        self,
        states: Sequence[State],
        progress: Progress | None = None,
        *,
        cancelled: Callable[[], bool] = never,
    ) -> tuple[Segments, Encoding]:
        """The segments of `states`, in which each comes after its context: those that are not
        stored are encoded first, one to a forward. `cancelled`: see `encode_schema`."""
        return finish(self._source.segments(states), progress, cancelled)

    def changes(self, name: str) -> Changes:
        """What became of the states of the schema `name` when it was added last. Raises `PMLError`
        for an unknown name."""
        self._planner(name)
        return self._changes[name]

    def conversation(self, name: str) -> Conversation:
        """One over the schema `name` in which nothing is said yet; packed, if nobody said how.

        Raises `PMLError` for an unknown name and where the layout is `fixed`, `LoadError` as
        `add_schema` does.
        """
        planner = self._planner(name)
        if not (self._layout or planner.layout.schema.layout):
            states = states_of(planner.layout, planner.attention, "packed")
            planner = replace(planner, positions="packed", states=states)
            self._check_movable(planner)
        return Conversation.of(planner)

    def plan_turn(self, said: Conversation, turn: Prompt) -> tuple[PromptPlan, Conversation]:
        """`Conversation.turn` with this library's recompute set and learned contexts."""
        wanted = self._recompute
        part, new = said.turn(turn, wanted, self._learned)
        if not wanted.is_measured:
            return part, new
        segments, _ = self.segments(new.plan.states)
        wanted = self._measured(new.plan, segments, wanted, said.plan.next_position)
        return said.turn(turn, wanted, self._learned)

    def _check_movable(self, planner: Planner) -> None:
        if planner.positions == "packed" and self.model.config.position_scheme == "learned":
            raise LoadError(
                f"{self.model.name}: it adds a learned vector for each position to its tokens, so "
                "that states cannot be moved, as chats and layout='packed' do; take layout='fixed'"
            )

    def _planner_for(self, prompt: Prompt, *, in_full: bool) -> Planner:
        """That of the prompt's schema, with headers or, `in_full`, without."""
        name, planner = prompt.schema, self._planner(prompt.schema, prompt.at)
        if in_full == self._recompute.unseen or not self.model.tokenizer.header_ids:
            return planner
        if name not in self._otherwise:
            self._otherwise[name] = self._laid_out(planner.layout.schema, in_full=in_full)
        return self._otherwise[name]

    def _planner(self, schema: str, at: Location | None = None) -> Planner:
        if not isinstance(schema, str):
            raise TypeError(f"found a {type(schema).__name__}, expected a schema's name")
        planner = self.schemas.get(schema)
        if planner is None:
            raise unknown_schema(schema, self.schemas, at)
        return planner
