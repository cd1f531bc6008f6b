"""From a state to its stored segment: one forward over its tokens, on top of its context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from minillm.generate import CHUNK
from minillm.kv import KVCache, KVSegment, Placed
from minillm.model import ForwardPlan, Run, Transformer
from pml.context import State


def encode(
    model: Transformer,
    state: State,
    context: Sequence[Placed],
    cache: KVCache,
    progress: Callable[[int], None] | None = None,
) -> KVSegment:
    """The keys and values of `state`'s tokens from its origin on, seeing `context`: the segments of
    the nodes in its context, placed.

    A state is encoded alone, so that its bits depend on its own content only. `cache` is scratch
    memory; states that share a context one after another share what lies in it.
    """
    cache.bring(context)
    start = cache.num_slots
    for first in range(0, len(state.tokens), CHUNK):
        tokens = torch.tensor(state.tokens[first : first + CHUNK], device=model.device)
        at = state.origin + first
        positions = torch.arange(at, at + len(tokens), device=model.device)
        model(tokens, positions, ForwardPlan([Run(cache, len(tokens))], []))
        if progress:
            progress(len(tokens))
    return cache.segment(start, cache.num_slots)
