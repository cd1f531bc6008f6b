"""A prompt resolved against a layout: what is reused, what is computed, where, and who sees whom.

The plan is data. The engine runs it with stored states, the oracle (`pml/reference.py`) as one
plain forward under its mask, `pml explain` prints it, and the tests hold all three together.

    cached   tokens of a placed node: seen by the fresh tokens after them
    ghost    node tokens that fresh tokens do not see: placeholders, text that is computed afresh
             here but stands in the context of something cached
    fresh    arguments, new text, schema text that is not cached: computed for this prompt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from minillm.tokenizer import Tokenizer
from pml.context import Attention, Node, closure
from pml.errors import PMLError
from pml.layout import Layout, Span, name_of
from pml.placement import Fresh, place_prompt
from pml.prompt import Prompt, check_prompt

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


@dataclass(frozen=True)
class PromptPlan:
    """All tokens of the oracle, span by span; what the engine reuses and computes of them."""

    schema: str
    attention: Attention
    spans: tuple[PlanSpan, ...]

    @cached_property
    def reused(self) -> tuple[PlanSpan, ...]:
        """What is brought into the buffer, by position."""
        return tuple(sorted(self._of("cached"), key=lambda span: span.start))

    @cached_property
    def fresh(self) -> tuple[PlanSpan, ...]:
        """What is computed, by position."""
        return tuple(sorted(self._of("fresh"), key=lambda span: span.start))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every state that must be there, each after those it is encoded seeing."""
        return tuple(closure(span.node for span in self._of("cached") if span.node is not None))

    @property
    def num_cached(self) -> int:
        return sum(len(span.tokens) for span in self.reused)

    @property
    def num_fresh(self) -> int:
        return sum(len(span.tokens) for span in self.fresh)

    @property
    def next_position(self) -> int:
        """Where the first generated token stands."""
        return max(span.stop for span in self.spans if span.kind != "ghost")

    def selected(self) -> list[int]:
        """The tokens a reader of the prompt sees, in order: what full prefill computes."""
        spans = sorted((*self.reused, *self.fresh), key=lambda span: span.start)
        return [token for span in spans for token in span.tokens]

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

    def _of(self, kind: Kind) -> list[PlanSpan]:
        return [span for span in self.spans if span.kind == kind]


def resolve(
    prompt: Prompt,
    layout: Layout,
    nodes: Sequence[Node],
    attention: Attention,
    tokenizer: Tokenizer,
    fresh_anonymous: int = 16,
) -> PromptPlan:
    """The plan of `prompt`; `nodes` are those of the layout's spans under `attention`.

    Anonymous text of at most `fresh_anonymous` tokens that follows an imported module is computed
    afresh, so that a closing marker sees what the prompt really holds; never under `isolated`.
    Raises `PMLError` where prompt and schema do not fit or the prompt holds no token.
    """
    check_prompt(prompt, layout.schema)
    owners, texts = place_prompt(prompt, layout, tokenizer)
    limit = 0 if attention == "isolated" else fresh_anonymous
    placed: list[Node] = []
    fresh = list(texts)
    after_module = False
    for span in layout.spans:
        if span.owner not in owners:
            continue
        after_module = after_module or span.owner != ()
        if span.parameter is None and _is_fresh(span, layout, limit if after_module else 0):
            fresh.append(Fresh(name_of(span.owner), span.owner, span.start, span.tokens))
        elif span.cached:
            placed.append(nodes[span.index])
    if not fresh and all(node.is_placeholder for node in placed):
        raise PMLError("the prompt holds no token: no text, and nothing of the schema", prompt.at)
    return PromptPlan(layout.schema.name, attention, _spans(placed, fresh))


def _is_fresh(span: Span, layout: Layout, limit: int) -> bool:
    is_bos = layout.has_bos and span.index == 0
    return not span.cached or (span.owner == () and not is_bos and len(span.tokens) <= limit)


def _spans(placed: Sequence[Node], fresh: Sequence[Fresh]) -> tuple[PlanSpan, ...]:
    """The closures of `placed` and the fresh text as spans.

    A prompt that ends with a cached token has that one recomputed: the answer starts from it, and
    must have seen all that the prompt holds. Its stored version stays, as a ghost.
    """
    seen = [node for node in placed if not node.is_placeholder and node.tokens]
    last = max(seen, key=lambda node: node.stop, default=None)
    if last is not None and any(text.stop > last.stop for text in fresh):
        last = None
    visible, indices = set(seen), dict[Node, list[int]]()
    spans: list[PlanSpan] = []
    for node in closure(placed):
        context = tuple(index for other in node.context for index in indices[other])
        kind: Kind = "cached" if node in visible else "ghost"
        cut = len(node.tokens) - (node == last)
        parts = [(kind, 0, node.tokens[:cut]), ("ghost", cut, node.tokens[cut:])]
        indices[node] = []
        for part, offset, tokens in parts:
            if tokens:
                own = (*context, *indices[node])
                start = node.start + offset
                indices[node].append(len(spans))
                spans.append(PlanSpan(node.path, part, start, tokens, node, offset, own))
    texts = list(fresh)
    if last is not None:
        texts.append(Fresh(last.path, (), last.stop - 1, last.tokens[-1:]))
    texts.sort(key=lambda text: text.start)
    spans += [PlanSpan(text.path, "fresh", text.start, text.tokens) for text in texts]
    return tuple(spans)
