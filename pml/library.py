"""The schemas that prompts refer to, and the states of their spans: planned, encoded, stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from minillm.checkpoint import LoadedModel
from minillm.errors import LoadError
from minillm.generate import never
from minillm.kv import KVCache, KVSegment, Placed
from pml.assembly import placed_segments
from pml.context import Node, State, closure
from pml.conversation import Conversation
from pml.encoder import Encoder, Job, packed, waves
from pml.errors import Location, PMLPromptError, closest, did_you_mean, listed
from pml.learned import content, one_pass
from pml.measured import measured
from pml.plan import PromptPlan
from pml.planner import Planner
from pml.prompt import Prompt
from pml.quality import recompute_of
from pml.recompute import Recompute
from pml.schema import Schema
from pml.schemas import Changes, PromptSource, read_prompt, read_schema
from pml.states import states_of
from pml.steps import Progress, Steps, finish
from pml.store import ModuleStore, SegmentKey, StoreFull, open_store, segment_key

log = logging.getLogger("pml")

Segments = Mapping[State, KVSegment]

WAIT = 0.005
"""Seconds until it is asked again whether another process has encoded a state."""


@dataclass(frozen=True)
class Encoding:
    """What had to be encoded, how many states were there already, and the seconds it took."""

    encoded: tuple[State, ...]
    kept: int
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(len(state.tokens) for state in self.encoded)

    def __repr__(self) -> str:
        encoded = f"{len(self.encoded)} states, {self.tokens} tokens in {self.seconds:.3g} s"
        return f"<Encoding: {encoded}; {self.kept} states kept>"


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
    encoded. No other `namespace` finds what this one has stored, but schemas that are added as
    shared. Raises `LoadError` for a model whose states are of no use in another prompt.
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
        self._namespace = namespace
        self._shared: set[str] = set()
        self.schemas: dict[str, Planner] = {}
        self._attention, self._layout = attention, layout
        self._fresh_anonymous = fresh_anonymous
        self._recompute = recompute_of(quality) if recompute is None else recompute
        self._learned: set[str] = set()
        self._changes: dict[str, Changes] = {}

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
        planner = Planner.of(
            schema,
            self.model.tokenizer,
            self.model.config.max_positions,
            attention=self._attention,
            layout=self._layout,
            fresh_anonymous=self._fresh_anonymous,
        )
        self._check_movable(planner)
        self._changes[schema.name] = Changes.between(before, planner)
        self.schemas[schema.name] = planner
        if shared:
            self._shared |= {state.key for state in planner.states.all}
        return schema

    def plan(
        self,
        prompt: PromptSource,
        file: str = "<prompt>",
        *,
        recompute: Recompute | None = None,
    ) -> PromptPlan:
        """The prompt resolved against its schema: `Planner.plan`, which see.

        `recompute` is taken instead of the library's own. Where it asks for the tokens that
        deviate most, what the prompt needs is encoded first.
        """
        return finish(self._planning(prompt, file, recompute))[0]

    def prepare(self, prompt: PromptSource | PromptPlan) -> Steps[Prepared]:
        """Plan a prompt and encode what it needs and the store lacks, step by step."""
        measuring = None
        if isinstance(prompt, PromptPlan):
            plan = prompt
        else:
            plan, measuring = yield from self._planning(prompt)
        segments, encoding = yield from self._encoding(plan.states)
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
        planner = self._planner(prompt.schema, prompt.at)
        wanted = self._recompute if recompute is None else recompute
        plan = planner.plan(prompt, wanted, self._learned)
        if not wanted.is_measured:
            return plan, None
        segments, encoding = yield from self._encoding(plan.states)
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
        dtype = str(self.model.transformer.dtype).removeprefix("torch.")
        names = (self.model.fingerprint, self.model.tokenizer.fingerprint)
        return segment_key(*names, dtype, self.store.codec.name, self._namespace_of(state), state)

    def _namespace_of(self, state: State) -> str:
        return "" if state.key in self._shared else self._namespace

    def missing(self, plan: PromptPlan) -> list[State]:
        """The states that `plan` needs and the store lacks."""
        return [state for state in plan.states if not self.is_stored(state)]

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
        states = self._planner(name).usable
        try:
            return finish(self._encoding_together(states), progress, cancelled)
        except StoreFull:
            if not self.store.lasts:
                raise
        return finish(self._encoding_apart(states), progress, cancelled)

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
        return finish(self._encoding(states), progress, cancelled)

    def _encoding(self, states: Sequence[State]) -> Steps[tuple[Segments, Encoding]]:
        started, keys = time.perf_counter(), self._admitted(states)
        segments: dict[State, KVSegment] = {}
        encoded: list[State] = []
        encoder = Encoder(self.model.transformer)
        for state, key in keys.items():
            segments[state], is_new = yield from self._obtained(state, key, segments, encoder)
            encoded += [state] * is_new
        seconds = time.perf_counter() - started if encoded else 0.0
        return segments, Encoding(tuple(encoded), len(states) - len(encoded), seconds)

    def _admitted(self, states: Sequence[State]) -> dict[State, SegmentKey]:
        """The keys of states that memory can hold together, which is known before any work. What
        lies on disk is on its way."""
        transformer = self.model.transformer
        size = self.model.config.kv_bytes_per_token(transformer.dtype.itemsize)
        keys = {state: self.key_of(state) for state in states}
        self.store.admit({key: len(state.tokens) * size for state, key in keys.items()})
        self.store.prefetch(keys.values())
        return keys

    def _obtained(
        self, state: State, key: SegmentKey, segments: Segments, encoder: Encoder
    ) -> Steps[tuple[KVSegment, bool]]:
        """The segment of a state whose context is in `segments`; whether it had to be encoded."""
        if (segment := self.store.get(key)) is not None:
            return segment, False
        yield state.path, 0
        while not self.store.claim(key):  # Another process is encoding it.
            time.sleep(WAIT)
            yield state.path, 0
        try:
            if key in self.store and (segment := self.store.get(key)) is not None:
                return segment, False  # Someone else had it encoded in between.
            began = time.perf_counter()
            (segment,) = yield from encoder.encode([Job.of(state, segments)])
            return self._keep(state, key, segment, time.perf_counter() - began), True
        finally:
            self.store.release(key)

    def _encoding_together(self, states: Sequence[State]) -> Steps[Encoding]:
        started, keys = time.perf_counter(), self._admitted(states)
        found = {state: self.store.get(key) for state, key in keys.items()}
        segments = {state: segment for state, segment in found.items() if segment is not None}
        missing, encoder = [s for s in states if s not in segments], Encoder(self.model.transformer)
        new: set[State] = set()
        for wave in waves(missing):
            claimed = [state for state in wave if self.store.claim(keys[state])]
            try:
                mine = [state for state in claimed if keys[state] not in self.store]
                for jobs in packed(Job.of(state, segments) for state in mine):
                    segments |= yield from self._kept_together(jobs, keys, encoder)
                new.update(mine)
            finally:
                for state in claimed:
                    self.store.release(keys[state])
            for state in wave:  # What another process has encoded, or is encoding.
                if state not in segments:
                    obtaining = self._obtained(state, keys[state], segments, encoder)
                    segments[state], is_new = yield from obtaining
                    if is_new:
                        new.add(state)
        encoded = tuple(state for state in missing if state in new)
        seconds = time.perf_counter() - started if encoded else 0.0
        return Encoding(encoded, len(found) - len(encoded), seconds)

    def _encoding_apart(self, states: Sequence[State]) -> Steps[Encoding]:
        """One after the other, each with no more in memory than what it sees."""
        started, encoded = time.perf_counter(), list[State]()
        for state in states:
            seen = [node.state for node in closure([Node(state, state.origin)])]
            _, encoding = yield from self._encoding(seen)
            encoded += encoding.encoded
        seconds = time.perf_counter() - started if encoded else 0.0
        return Encoding(tuple(encoded), len(states) - len(encoded), seconds)

    def _kept_together(
        self, jobs: Sequence[Job], keys: Mapping[State, SegmentKey], encoder: Encoder
    ) -> Steps[Segments]:
        began, tokens = time.perf_counter(), sum(len(job.state.tokens) for job in jobs)
        segments = yield from encoder.encode(jobs)
        each = (time.perf_counter() - began) / tokens
        return {
            state: self._keep(state, keys[state], segment, each * len(state.tokens))
            for state, segment in zip((job.state for job in jobs), segments, strict=True)
        }

    def _keep(self, state: State, key: SegmentKey, segment: KVSegment, seconds: float) -> KVSegment:
        log.debug("encoded %s: %d tokens", state.path, len(state.tokens))
        namespace = self._namespace_of(state)
        return self.store.put(key, segment, seconds, label=state.path, namespace=namespace)

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

    def _planner(self, schema: str, at: Location | None = None) -> Planner:
        if not isinstance(schema, str):
            raise TypeError(f"found a {type(schema).__name__}, expected a schema's name")
        planner = self.schemas.get(schema)
        if planner is None:
            expected = listed(self.schemas) or "one that was given to add_schema; none was"
            message = f"no schema {schema!r}; expected {expected}"
            guess = closest(schema, self.schemas)
            message += did_you_mean(guess)
            raise PMLPromptError(message, at, code="other-schema", suggestion=guess)
        return planner
