"""From a node to its stored segment: one forward over its tokens, on top of its context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from minillm.generate import CHUNK
from minillm.kv import KVCache, KVSegment, Placed
from minillm.model import ForwardPlan, Run, Transformer
from pml.context import Node


def encode(
    model: Transformer,
    node: Node,
    context: Sequence[KVSegment],
    cache: KVCache,
    progress: Callable[[int], None] | None = None,
) -> KVSegment:
    """The keys and values of `node`'s tokens, seeing `context`, the segments of its context.

    A node is encoded alone, so that its bits depend on its own content only, and at the positions
    that it will be placed at. `cache` is scratch memory; nodes that share a context one after
    another share what lies in it.
    """
    cache.bring([Placed(s, n.start) for s, n in zip(context, node.context, strict=True)])
    start = cache.num_slots
    for first in range(0, len(node.tokens), CHUNK):
        tokens = torch.tensor(node.tokens[first : first + CHUNK], device=model.device)
        at = node.start + first
        positions = torch.arange(at, at + len(tokens), device=model.device)
        model(tokens, positions, ForwardPlan([Run(cache, len(tokens))], []))
        if progress:
            progress(len(tokens))
    return cache.segment(start, cache.num_slots)
