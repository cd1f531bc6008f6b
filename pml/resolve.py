"""A prompt and a laid-out schema to a `PromptPlan`.

The reuse rule: a state may be used if the texts of its whole closure are selected by the prompt and
precede it there; of several the one that saw the most tokens is taken, of equals the one declared
first. The choice depends on schema, prompt and options, never on what a store holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from minillm.tokenizer import Tokenizer
from pml.asked import Reader
from pml.context import Node, State
from pml.errors import PMLPromptError
from pml.fixed import place_fixed
from pml.layout import Layout, last_role, name_of
from pml.learned import Piece, content, unseen, with_learned
from pml.nodes import ContextName, LayoutName
from pml.packed import place_packed
from pml.placement import PROMPT, Fresh, Placement, Standing
from pml.plan import PromptPlan
from pml.prompt import Prompt, check_prompt
from pml.recompute import NOTHING, Recompute, recomputed_tokens
from pml.states import States


@dataclass(frozen=True)
class Resolver:
    """Resolves the prompts of one schema; `states` are those of `layout` under `attention` and
    `positions`.

    Anonymous text of at most `fresh_anonymous` tokens that follows an imported module which its
    state has not seen is computed afresh, so that a closing marker sees what the prompt really
    holds; under `guaranteed` and `learned` only.
    """

    layout: Layout
    states: States
    attention: ContextName
    tokenizer: Tokenizer
    fresh_anonymous: int = 16
    positions: LayoutName = "fixed"

    def resolve(
        self, prompt: Prompt, recompute: Recompute = NOTHING, learned: Set[str] = frozenset()
    ) -> PromptPlan:
        """The plan of `prompt`. `recompute` adds cached tokens to what is fresh; `learned` are the
        keys of states that earlier prompts left, which count under the attention `learned` only.

        Raises `PMLError` where prompt and schema do not fit or the prompt holds no token.
        """
        packed = self.positions == "packed"
        check_prompt(prompt, self.layout.schema, repeat=packed)
        asked = Reader(self.layout, self.tokenizer, last_role(self.layout.schema)).prompt(prompt)
        placement = (place_packed if packed else place_fixed)(asked, self.layout, self.tokenizer)
        plan = self.reuse(placement, recompute, learned)
        if plan.is_empty:
            message = "the prompt holds no token: no text, and nothing of the schema"
            raise PMLPromptError(message, prompt.at, code="empty-prompt")
        return plan

    def reuse(
        self,
        placement: Placement,
        recompute: Recompute,
        learned: Set[str],
        earlier: Sequence[Standing] = (),
        before: Sequence[Piece] = (),
    ) -> PromptPlan:
        """The plan of what `placement` holds, which goes on a text whose spans `earlier` and
        content `before` are planned already."""
        limit = self.fresh_anonymous if self.attention in ("guaranteed", "learned") else 0
        nodes: list[Node | None] = []
        texts = list(placement.fresh)
        modules = sum(one.span.owner != () for one in earlier)
        chosen = _chosen(self.states, [*earlier, *placement.standing])[len(earlier) :]
        for one, (state, seen) in zip(placement.standing, chosen, strict=True):
            span = one.span
            is_short = span.owner == () and len(span.tokens) <= limit and modules > seen
            is_fresh = span.parameter is None and (is_short or not span.cached)
            if is_fresh:
                texts.append(Fresh(name_of(span.owner), span.owner, one.start, span.tokens))
            nodes.append(None if is_fresh or not span.cached else Node(state, one.start))
            modules += span.owner != ()
        known = learned if self.attention == "learned" else frozenset[str]()
        nodes, texts, again = with_learned(nodes, texts, known, before)
        placed = [*(node for node in nodes if node is not None), *again]
        header = self.tokenizer.header_ids
        filled = {text.start for text in placement.fresh if text.path != PROMPT}
        recomputed = recomputed_tokens(recompute, placement.standing, nodes, filled, header)
        if recompute.unseen:
            late = unseen([*before, *content(placed, texts)])
            recomputed |= {n: tuple(range(len(n.tokens))) for n in late if n not in before}
        _recompute_last(placed, texts, recomputed)
        named = (self.layout.schema.name, self.positions, self.attention)
        return PromptPlan(*named, tuple(placed), tuple(texts), recomputed)


def _chosen(states: States, standing: Sequence[Standing]) -> list[tuple[State, int]]:
    """For each selected span the richest of its usable states, and how many selected spans of
    modules that one saw."""
    found = [(states.base[one.span.index], 0) for one in standing]
    for order, state, modules in _of_scaffolds(states, standing):
        if state.seen > found[order][0].seen:
            found[order] = state, modules
    return found


def _of_scaffolds(states: States, standing: Sequence[Standing]) -> Iterator[tuple[int, State, int]]:
    """The usable states of scaffolds, each with the order of its span among the selected ones and
    the number of spans of modules that it saw.

    A pass is causal: what follows a span has seen it, so it is usable only where that is selected
    and stands before it.
    """
    orders: dict[int, list[int]] = {}
    for order, one in enumerate(standing):
        orders.setdefault(one.span.index, []).append(order)
    for scaffold in states.scaffolds:
        last, modules = -1, 0
        for index, state in scaffold.items():
            if index not in orders:
                break
            yield from ((order, state, modules) for order in orders[index] if order > last)
            first = orders[index][0]
            last, modules = max(last, first), modules + (standing[first].span.owner != ())


def _recompute_last(
    placed: Sequence[Node], texts: Sequence[Fresh], recomputed: dict[Node, tuple[int, ...]]
) -> None:
    """A prompt that ends with a cached token has that one recomputed: the answer starts from it,
    and must have seen all that the prompt holds. Its stored version stays, as a ghost."""
    stored = [node for node in placed if not node.state.is_placeholder]
    last = max(stored, key=lambda node: node.stop, default=None)
    if last is not None and not any(text.stop > last.stop for text in texts):
        offsets = {*recomputed.get(last, ()), len(last.tokens) - 1}
        recomputed[last] = tuple(sorted(offsets))
