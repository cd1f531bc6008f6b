"""A prompt resolved: what is reused, what is computed, where, and who sees whom.

The plan is data. The engine runs it with stored states, the oracle (`pml/reference.py`) as one
plain forward under its mask, `pml explain` prints it, and the tests hold all three together.

    cached   tokens of a placed node: seen by the fresh tokens after them
    ghost    node tokens that fresh tokens do not see: placeholders, text that is computed afresh
             here but stands in the context of something cached, what a moved state was encoded
             seeing
    fresh    arguments, new text, schema text that is not cached, recomputed tokens: computed for
             this prompt
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from pml.context import Node, State, closure
from pml.nodes import ContextName, LayoutName
from pml.placement import Fresh

Kind = Literal["cached", "ghost", "fresh"]


@dataclass(frozen=True)
class PlanSpan:
    """Tokens at consecutive positions from `start` that see the same others and are seen alike.

    A span that is no fresh text is the tokens [offset, offset + len(tokens)) of `node`, and
    `context` gives the indices of the plan's spans that it sees besides its own.
    """

    path: str
    kind: Kind
    start: int
    tokens: tuple[int, ...]
    node: Node | None = None
    offset: int = 0
    context: tuple[int, ...] = ()

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)

    def __repr__(self) -> str:
        return f"<PlanSpan {self.path!r}: {self.kind}, {len(self.tokens)} tokens from {self.start}>"


@dataclass(frozen=True)
class PromptPlan:
    """`placed` are the nodes that stand in the prompt, placeholders among them, and `recomputed`
    says which of their tokens (offsets, ascending) are computed afresh; `texts` is all other fresh
    text."""

    schema: str
    layout: LayoutName
    attention: ContextName
    placed: tuple[Node, ...]
    texts: tuple[Fresh, ...]
    recomputed: Mapping[Node, tuple[int, ...]]

    def __repr__(self) -> str:
        counts = f"reuses {self.num_cached} tokens, computes {self.num_fresh}"
        return f"<PromptPlan for {self.schema!r}: {counts}, next position {self.next_position}>"

    @cached_property
    def reused(self) -> tuple[PlanSpan, ...]:
        """What is brought into the buffer, by position."""
        return tuple(sorted(self._parts("cached"), key=lambda span: span.start))

    @cached_property
    def fresh(self) -> tuple[PlanSpan, ...]:
        """What is computed, by position."""
        spans = [PlanSpan(text.path, "fresh", text.start, text.tokens) for text in self.texts]
        for part in self._parts("ghost"):
            if part.node is not None and not part.node.state.is_placeholder:
                spans.append(PlanSpan(part.path, "fresh", part.start, part.tokens))
        return tuple(sorted(spans, key=lambda span: span.start))

    @cached_property
    def states(self) -> tuple[State, ...]:
        """Every state that must be there, each after those it is encoded seeing."""
        needed = dict.fromkeys(span.node for span in self.reused if span.node is not None)
        return tuple(dict.fromkeys(node.state for node in closure(needed)))

    @property
    def num_cached(self) -> int:
        return sum(len(span.tokens) for span in self.reused)

    @property
    def num_fresh(self) -> int:
        return sum(len(span.tokens) for span in self.fresh)

    @property
    def num_recomputed(self) -> int:
        """How many of the fresh tokens are cached text that is computed again."""
        return sum(len(offsets) for offsets in self.recomputed.values())

    @property
    def next_position(self) -> int:
        """Where the first generated token stands."""
        return max((span.stop for span in (*self.reused, *self.fresh)), default=0)

    @property
    def is_empty(self) -> bool:
        return not self.texts and all(node.state.is_placeholder for node in self.placed)

    def then(self, part: PromptPlan) -> PromptPlan:
        """This plan and `part`, what stands behind it."""
        recomputed = {**self.recomputed, **part.recomputed}
        placed, texts = self.placed + part.placed, self.texts + part.texts
        return replace(self, placed=placed, texts=texts, recomputed=recomputed)

    def selected(self) -> list[int]:
        """The tokens a reader of the prompt sees, in order: what full prefill computes."""
        spans = sorted((*self.reused, *self.fresh), key=lambda span: span.start)
        return [token for span in spans for token in span.tokens]

    @cached_property
    def spans(self) -> tuple[PlanSpan, ...]:
        """All tokens of the oracle: the closures of the placed nodes, equal nodes once, each after
        what it sees; then the fresh ones."""
        visible = {node for node in self.placed if not node.state.is_placeholder}
        indices: dict[Node, list[int]] = {}
        spans: list[PlanSpan] = []
        for node in closure(self.placed):
            context = tuple(index for other in node.context for index in indices[other])
            indices[node] = []
            hidden = self.recomputed.get(node, ())
            for part in _cut(node, hidden, "cached" if node in visible else "ghost"):
                sees = (*context, *indices[node])
                indices[node].append(len(spans))
                spans.append(
                    PlanSpan(
                        node.state.path, part.kind, part.start, part.tokens, node, part.offset, sees
                    )
                )
        return (*spans, *self.fresh)

    def tokens(self) -> list[int]:
        """The oracle's tokens, in the order of `spans`."""
        return [token for span in self.spans for token in span.tokens]

    def positions(self) -> list[int]:
        return [p for span in self.spans for p in range(span.start, span.stop)]

    def visibility(self) -> npt.NDArray[np.bool_]:
        """Who sees whom among `tokens()`: bool (T, T), [query, key], at smaller positions or self.

        A fresh token sees fresh and cached ones; a node's token its node and its context.
        """
        spans = self.spans
        sees = np.zeros((len(spans), len(spans)), dtype=np.bool_)
        visible = [span.kind != "ghost" for span in spans]
        for index, span in enumerate(spans):
            sees[index] = visible if span.kind == "fresh" else False
            sees[index, [index, *span.context]] = True
        owner = np.repeat(np.arange(len(spans)), [len(span.tokens) for span in spans])
        at = np.array(self.positions())
        mask = sees[np.ix_(owner, owner)] & (at[None, :] < at[:, None])
        np.fill_diagonal(mask, True)
        return mask

    def _parts(self, kind: Kind) -> Iterator[PlanSpan]:
        """The parts of the placed nodes that are of a kind."""
        for node in self.placed:
            whole: Kind = "ghost" if node.state.is_placeholder else "cached"
            for part in _cut(node, self.recomputed.get(node, ()), whole):
                if part.kind == kind:
                    yield part


def _cut(node: Node, hidden: tuple[int, ...], kind: Kind) -> Iterator[PlanSpan]:
    """The tokens of a node as spans of one kind each: the offsets `hidden` are ghosts."""
    if not hidden:
        yield PlanSpan(node.state.path, kind, node.start, node.tokens, node)
        return
    kinds: list[Kind] = [kind] * len(node.tokens)
    for offset in hidden:
        kinds[offset] = "ghost"
    first = 0
    for stop in range(1, len(kinds) + 1):
        if stop == len(kinds) or kinds[stop] != kinds[first]:
            tokens = node.tokens[first:stop]
            yield PlanSpan(node.state.path, kinds[first], node.start + first, tokens, node, first)
            first = stop
