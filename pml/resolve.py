"""A prompt and a laid-out schema to a `PromptPlan`.

The reuse rule: a state may be used if the texts of its whole closure are selected by the prompt and
precede it there; of several the one that saw the most tokens is taken, of equals the one declared
first. The choice depends on schema, prompt and options, never on what a store holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minillm.tokenizer import Tokenizer
from pml.asked import read_asked
from pml.context import Node, State
from pml.errors import PMLError
from pml.fixed import place_fixed
from pml.layout import Layout, name_of
from pml.nodes import LayoutName
from pml.packed import place_packed
from pml.placement import Fresh, Standing
from pml.plan import PromptPlan
from pml.prompt import Prompt, check_prompt
from pml.states import Attention, States


def resolve(
    prompt: Prompt,
    layout: Layout,
    states: States,
    attention: Attention,
    tokenizer: Tokenizer,
    fresh_anonymous: int = 16,
    positions: LayoutName = "fixed",
) -> PromptPlan:
    """The plan of `prompt`; `states` are those of the layout under `attention` and `positions`.

    Anonymous text of at most `fresh_anonymous` tokens that follows an imported module which its
    state has not seen is computed afresh, so that a closing marker sees what the prompt really
    holds; under `guaranteed` only. Raises `PMLError` where prompt and schema do not fit or the
    prompt holds no token.
    """
    packed = positions == "packed"
    check_prompt(prompt, layout.schema, repeat=packed)
    asked = read_asked(prompt, tokenizer)
    placement = (place_packed if packed else place_fixed)(asked, layout, tokenizer)
    limit = fresh_anonymous if attention == "guaranteed" else 0
    placed: list[Node] = []
    texts = list(placement.fresh)
    modules = 0
    for one, (state, seen) in zip(
        placement.standing, _chosen(states, placement.standing), strict=True
    ):
        span = one.span
        is_short = span.owner == () and len(span.tokens) <= limit and modules > seen
        if span.parameter is None and (is_short or not span.cached):
            texts.append(Fresh(name_of(span.owner), span.owner, one.start, span.tokens))
        elif span.cached:
            placed.append(Node(state, one.start))
        modules += span.owner != ()
    if not texts and all(node.state.is_placeholder for node in placed):
        raise PMLError("the prompt holds no token: no text, and nothing of the schema", prompt.at)
    recomputed = _last_token(placed, texts)
    name = layout.schema.name
    return PromptPlan(name, positions, attention, tuple(placed), tuple(texts), recomputed)


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


def _last_token(placed: Sequence[Node], texts: Sequence[Fresh]) -> dict[Node, tuple[int, ...]]:
    """A prompt that ends with a cached token has that one recomputed: the answer starts from it,
    and must have seen all that the prompt holds. Its stored version stays, as a ghost."""
    stored = [node for node in placed if not node.state.is_placeholder]
    last = max(stored, key=lambda node: node.stop, default=None)
    if last is None or any(text.stop > last.stop for text in texts):
        return {}
    return {last: (len(last.tokens) - 1,)}
