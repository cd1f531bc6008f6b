"""Which cached tokens a full prefill would have given the most different states (CacheBlend)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from minillm.config import ModelConfig
from minillm.generate import CHUNK
from minillm.kv import KVSegment
from minillm.model import ForwardPlan, Run, Transformer
from minillm.rope import rope_for
from pml.context import State
from pml.plan import PlanSpan, PromptPlan
from pml.recompute import Deviation

LAYER = 2
"""Whose values are compared, the third layer's: those of the second know which tokens stand before,
those of the third also what these have read, which is where what links two documents shows first.
Tokens that deviate there mostly deviate in later layers too (CacheBlend, arXiv 2405.16444)."""


def compared_layer(config: ModelConfig) -> int:
    """`LAYER`, or a shallower model's last."""
    return min(LAYER, config.num_layers - 1)


def deviating(
    model: Transformer,
    plan: PromptPlan,
    segments: Mapping[State, KVSegment],
    share: float,
    start: int = 0,
    of: Deviation = "values",
) -> frozenset[int]:
    """The positions of the `share` of the cached tokens from `start` on whose stored keys or values
    deviate most: of both, by the sum of both, each as a part of the true ones.

    The true values come from a causal prefill of all selected tokens, up to the layer compared.
    """
    layer = compared_layer(model.config)
    spans = sorted((*plan.reused, *plan.fresh), key=lambda span: span.start)
    tokens = torch.tensor([t for span in spans for t in span.tokens], device=model.device)
    positions = torch.tensor([p for s in spans for p in range(s.start, s.stop)])
    cache = model.new_cache(len(tokens))
    chunk = len(tokens) if model.config.follows_length else CHUNK
    there = positions.to(model.device)
    for ids, at in zip(torch.split(tokens, chunk), torch.split(there, chunk), strict=True):
        model(ids, at, ForwardPlan([Run(cache, len(ids))], [], layers=layer + 1))
    kinds = {"keys": (0,), "values": (1,), "both": (0, 1)}[of]
    true = (cache.keys(layer), cache.values(layer))  # (K, T, D) each
    found, first = [], 0
    for span in spans:
        stop = first + len(span.tokens)
        if span.node is not None and span.start >= start:
            stored = _stored(model, span, segments[span.node.state], layer)
            away = torch.zeros(stop - first)
            for kind in kinds:
                difference = (true[kind][:, first:stop] - stored[kind]).float().square()
                scale = true[kind].float().square().sum(dim=(0, 2)).mean()
                away += (difference.sum(dim=(0, 2)) / scale).cpu()
            own = (tokens[first:stop] < model.config.vocab_size).cpu()  # the rest is a header's
            found.append((positions[first:stop][own], away[own]))
        first = stop
    if not found:
        return frozenset()
    at, deviation = (torch.cat(parts) for parts in zip(*found, strict=True))
    count = round(share * len(at))
    most = deviation.argsort(descending=True, stable=True)[:count]
    return frozenset(at[most].tolist())


def _stored(
    model: Transformer, span: PlanSpan, segment: KVSegment, layer: int
) -> tuple[Tensor, Tensor]:
    """The stored keys, turned for where they are placed, and the values of `span` (K, n, D)."""
    assert span.node is not None
    part = slice(span.offset, span.offset + len(span.tokens))
    keys, values = segment.block[layer, :, :, part].unbind()
    distance = span.node.start - segment.origin
    if distance and model.config.position_scheme == "rope":
        keys = rope_for(model.config, model.device).turn(keys, distance)
    return keys, values
