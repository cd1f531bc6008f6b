"""From a plan and the store to what the model's forward takes."""

from __future__ import annotations

from collections.abc import Mapping

from minillm.kv import KVSegment, Placed
from pml.context import State
from pml.plan import PromptPlan


def placed_segments(plan: PromptPlan, segments: Mapping[State, KVSegment]) -> list[Placed]:
    """What the cache must hold before the fresh tokens run, in the order of positions."""
    placed = []
    for span in plan.reused:
        assert span.node is not None
        segment, stop = segments[span.node.state], span.offset + len(span.tokens)
        placed.append(Placed(segment, span.node.start, span.offset, stop))
    return placed


def fresh_tokens(plan: PromptPlan) -> tuple[list[int], list[int]]:
    """The tokens to compute and their positions, ascending."""
    tokens = [token for span in plan.fresh for token in span.tokens]
    positions = [p for span in plan.fresh for p in range(span.start, span.stop)]
    return tokens, positions
