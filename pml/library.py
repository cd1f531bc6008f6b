"""The schemas that prompts refer to, and the states of their spans: planned, encoded, stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minillm.checkpoint import LoadedModel
from minillm.errors import LoadError
from minillm.kv import KVSegment, Placed
from pml.context import Node, State
from pml.conversation import Conversation
from pml.deviation import deviating
from pml.encoder import encode
from pml.errors import Location, PMLPromptError, closest, did_you_mean, listed
from pml.learned import content, one_pass
from pml.plan import PromptPlan
from pml.planner import Planner
from pml.prompt import Prompt, parse_prompt
from pml.recompute import NOTHING, Recompute
from pml.schema import Schema
from pml.schemas import Changes, read_schema
from pml.states import states_of
from pml.store import MemoryStore, SegmentKey, segment_key

log = logging.getLogger("pml")

Progress = Callable[[str, int], None]
"""Told the path of a span and how many of its tokens were just encoded."""


@dataclass(frozen=True)
class Encoding:
    """What had to be encoded, how many states were there already, and the seconds it took."""

    encoded: tuple[State, ...]
    kept: int
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(len(state.tokens) for state in self.encoded)


class Library:
    """What the answers of one model share.

    `attention` and `layout` override what a schema says; `fresh_anonymous` is the length up to
    which anonymous text behind an imported module is computed afresh. Raises `LoadError` for a
    model whose states are of no use in another prompt.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        attention: str | None = None,
        layout: str | None = None,
        fresh_anonymous: int = 16,
        recompute: Recompute = NOTHING,
        store: MemoryStore | None = None,
    ) -> None:
        scaling = model.config.rope_scaling
        if scaling is not None and model.config.follows_length:
            raise LoadError(
                f"{model.name}: its RoPE frequencies ({scaling.kind}) follow the text's length, so "
                "a key of one prompt is wrong in another and nothing can be reused; "
                "`minillm generate` runs this model in full prefill"
            )
        self.model = model
        self.store = MemoryStore() if store is None else store
        self.schemas: dict[str, Planner] = {}
        self._attention, self._layout = attention, layout
        self._fresh_anonymous, self._recompute = fresh_anonymous, recompute
        self._learned: set[str] = set()
        self._changes: dict[str, Changes] = {}

    def add_schema(self, source: str | Path | Schema) -> Schema:
        """Take a schema: a path, PML text (which starts with `<`), or one that was built in code.
        Nothing is encoded yet.

        Raises `PMLError` for what is wrong with it. A schema of the same name is replaced: what is
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
        self._changes[schema.name] = Changes.between(before, planner)
        self.schemas[schema.name] = planner
        return schema

    def plan(
        self,
        prompt: str | bytes | Prompt,
        file: str = "<prompt>",
        *,
        recompute: Recompute | None = None,
    ) -> PromptPlan:
        """The prompt resolved against its schema: `Planner.plan`, which see.

        `recompute` is taken instead of the library's own. Where it asks for the tokens that
        deviate most, what the prompt needs is encoded first.
        """
        if not isinstance(prompt, Prompt):
            prompt = parse_prompt(prompt, file)
        planner = self._planner(prompt.schema, prompt.at)
        wanted = self._recompute if recompute is None else recompute
        plan = planner.plan(prompt, wanted, self._learned)
        if not wanted.deviating:
            return plan
        segments, _ = self.segments(plan.states)
        found = deviating(self.model.transformer, plan, segments, wanted.deviating)
        wanted = replace(wanted, positions=wanted.positions | found)
        return planner.plan(prompt, wanted, self._learned)

    def learn(self, plan: PromptPlan, progress: Progress | None = None) -> Encoding:
        """Keep what a served prompt held, for later ones that begin with the same content: every
        piece of it is encoded seeing all before it. For `attention="learned"`."""
        pieces = content(plan.placed, plan.texts)
        nodes = [*one_pass(pieces)]
        _, encoding = self.segments([node.state for node in nodes], progress)
        self._learned |= {node.key for node in nodes}
        return encoding

    def is_stored(self, state: State) -> bool:
        return self.key_of(state) in self.store

    def key_of(self, state: State) -> SegmentKey:
        dtype = str(self.model.transformer.dtype).removeprefix("torch.")
        fingerprints = (self.model.fingerprint, self.model.tokenizer.fingerprint)
        return segment_key(*fingerprints, dtype, state)

    def missing(self, plan: PromptPlan) -> list[State]:
        """The states that `plan` needs and the store lacks."""
        return [state for state in plan.states if not self.is_stored(state)]

    def encode_schema(self, name: str, progress: Progress | None = None) -> Encoding:
        """Encode all states that prompts of a schema can use and the store lacks."""
        return self.segments(self.schemas[name].usable, progress)[1]

    def encode(self, plan: PromptPlan, progress: Progress | None = None) -> Encoding:
        """Encode what `plan` needs and the store lacks."""
        return self.segments(plan.states, progress)[1]

    def segments(
        self, states: Sequence[State], progress: Progress | None = None
    ) -> tuple[dict[State, KVSegment], Encoding]:
        """The segments of `states`, in which each comes after its context: those that are not
        stored are encoded first, one to a forward."""
        started = time.perf_counter()
        segments: dict[State, KVSegment] = {}
        encoded: list[State] = []
        scratch = self.model.transformer.new_cache()
        for state in states:
            key = self.key_of(state)
            segment = self.store.get(key)
            if segment is None:
                seen = Node(state, state.origin).context
                context = [Placed(segments[node.state], node.start) for node in seen]
                tell = (lambda n, path=state.path: progress(path, n)) if progress else None
                segment = encode(self.model.transformer, state, context, scratch, tell)
                self.store.put(key, segment)
                encoded.append(state)
                log.debug("encoded %s: %d tokens", state.path, len(state.tokens))
            segments[state] = segment
        seconds = time.perf_counter() - started if encoded else 0.0
        return segments, Encoding(tuple(encoded), len(states) - len(encoded), seconds)

    def changes(self, name: str) -> Changes:
        """What became of the states of the schema `name` when it was added last."""
        return self._changes[name]

    def conversation(self, name: str) -> Conversation:
        """One over the schema `name` in which nothing is said yet; packed, if nobody said how.

        Raises `PMLError` for an unknown name, and where the layout is `fixed`.
        """
        planner = self._planner(name)
        if not (self._layout or planner.layout.schema.layout):
            states = states_of(planner.layout, planner.attention, "packed")
            planner = replace(planner, positions="packed", states=states)
        return Conversation.of(planner)

    def plan_turn(self, said: Conversation, turn: Prompt) -> tuple[PromptPlan, Conversation]:
        """`Conversation.turn` with this library's recompute set and learned contexts."""
        wanted = self._recompute
        part, new = said.turn(turn, wanted, self._learned)
        if not wanted.deviating:
            return part, new
        segments, _ = self.segments(new.plan.states)
        start, share = said.plan.next_position, wanted.deviating
        found = deviating(self.model.transformer, new.plan, segments, share, start)
        wanted = replace(wanted, positions=wanted.positions | found)
        return said.turn(turn, wanted, self._learned)

    def _planner(self, schema: str, at: Location | None = None) -> Planner:
        planner = self.schemas.get(schema)
        if planner is None:
            message = f"no schema {schema!r}; expected {listed(self.schemas)}"
            guess = closest(schema, self.schemas)
            raise PMLPromptError(message + did_you_mean(guess), at, suggestion=guess)
        return planner
