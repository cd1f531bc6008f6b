"""Which cached tokens a full prefill would have given the most different states (CacheBlend)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from minillm.kv import KVSegment
from minillm.model import ForwardPlan, Run, Transformer
from pml.context import State
from pml.plan import PromptPlan

LAYER = 1
"""Whose values are compared: the first that depend on more than the token itself. Tokens that
deviate there mostly deviate in later layers too (CacheBlend, arXiv 2405.16444)."""


def deviating(
    model: Transformer,
    plan: PromptPlan,
    segments: Mapping[State, KVSegment],
    share: float,
    start: int = 0,
) -> frozenset[int]:
    """The positions of the `share` of the cached tokens from `start` on whose stored values deviate
    most.

    The true values come from a causal pass of all selected tokens through the first layers.
    """
    layer = min(LAYER, model.config.num_layers - 1)
    spans = sorted((*plan.reused, *plan.fresh), key=lambda span: span.start)
    tokens = torch.tensor([t for span in spans for t in span.tokens], device=model.device)
    positions = torch.tensor([p for s in spans for p in range(s.start, s.stop)])
    cache = model.new_cache(len(tokens))
    run = Run(cache, len(tokens))
    model(tokens, positions.to(model.device), ForwardPlan([run], [], layers=layer + 1))
    true = cache.values(layer)  # (K, T, D)
    found, first = [], 0
    for span in spans:
        stop = first + len(span.tokens)
        if span.node is not None and span.start >= start:
            stored = segments[span.node.state].block[layer, 1, :, span.offset :]
            away = (true[:, first:stop] - stored[:, : stop - first]).float()
            found.append((positions[first:stop], away.square().sum(dim=(0, 2)).cpu()))
        first = stop
    if not found:
        return frozenset()
    at, deviation = (torch.cat(parts) for parts in zip(*found, strict=True))
    count = round(share * len(at))
    most = deviation.argsort(descending=True, stable=True)[:count]
    return frozenset(at[most].tolist())
