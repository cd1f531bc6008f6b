"""What only the states can tell of a prompt: which cached tokens to compute afresh.

attended     those of the modules that the prompt's last fresh tokens attend to most
read         those of modules that the prompt's last token attends to most, token by token
sought       those of modules that any of its last fresh tokens attends to most
deviating    those whose keys or values a full prefill would have given most differently
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from minillm.generate import prefill
from minillm.kv import KVCache, KVSegment
from minillm.model import ForwardPlan, Run, Transformer
from pml.assembly import fresh_tokens, placed_segments
from pml.context import State
from pml.deviation import deviating
from pml.plan import PlanSpan, PromptPlan
from pml.recompute import Recompute

LAST = 32
"""How many of the fresh tokens are asked what they attend to: the end of the question."""


def measured(
    model: Transformer,
    plan: PromptPlan,
    segments: Mapping[State, KVSegment],
    wanted: Recompute,
    scratch: KVCache,
    start: int = 0,
) -> frozenset[int]:
    """The positions from `start` on that `wanted` selects; `scratch` is written over."""
    found: frozenset[int] = frozenset()
    if (wanted.attended or wanted.read or wanted.sought) and _modules(plan):
        attention, size = Attention.of(model, plan, segments, scratch), model.config.vocab_size
        last, any_ = attention.weights[-1], attention.weights.amax(dim=0)
        found |= attended(plan, attention, wanted.attended, size) if wanted.attended else set()
        found |= most(plan, attention.positions, last, wanted.read, size, start)
        found |= most(plan, attention.positions, any_, wanted.sought, size, start)
    if wanted.deviating:
        share, of = wanted.deviating, wanted.deviation
        found |= deviating(model, plan, segments, share, start, of)
    return frozenset(position for position in found if position >= start)


@dataclass(frozen=True)
class Attention:
    """What the prompt's last `LAST` fresh tokens attend to: `weights` (n, S), the mean over layers
    and heads, of what stands at `positions` (S,)."""

    weights: Tensor
    positions: Tensor

    @classmethod
    def of(
        cls,
        model: Transformer,
        plan: PromptPlan,
        segments: Mapping[State, KVSegment],
        scratch: KVCache,
    ) -> Attention:
        scratch.bring(placed_segments(plan, segments), plan.num_fresh)
        tokens, positions = fresh_tokens(plan)
        if tokens[:-LAST]:
            prefill(model, scratch, tokens[:-LAST], positions[:-LAST])
        ids = torch.tensor(tokens[-LAST:], device=model.device)
        at = torch.tensor(positions[-LAST:], device=model.device)
        weights: list[Tensor] = []
        run = Run(scratch, len(ids))
        model(ids, at, ForwardPlan([run], [], explicit=True, weights=weights))
        mean = torch.stack([each.float().mean(dim=0) for each in weights]).mean(dim=0)
        return cls(mean.cpu(), scratch.positions.cpu())


def attended(
    plan: PromptPlan, attention: Attention, share: float, vocab_size: int
) -> frozenset[int]:
    """The positions of the imported modules whose tokens get the most attention, by the mean over
    the tokens that attend: about `share` of all cached tokens."""
    found = {name: _positions(spans, vocab_size) for name, spans in _modules(plan).items()}
    modules = {name: positions for name, positions in found.items() if positions}
    count = len(_positions(plan.reused, vocab_size))
    mass = attention.weights.mean(dim=0)
    by_position = dict(zip(attention.positions.tolist(), mass.tolist(), strict=True))
    means = {name: sum(by_position[p] for p in at) / len(at) for name, at in modules.items()}
    taken: set[int] = set()
    for name in sorted(means, key=lambda name: -means[name]):
        if taken and len(taken) + len(modules[name]) / 2 > share * count:
            break
        taken.update(modules[name])
    return frozenset(taken)


def most(
    plan: PromptPlan,
    positions: Tensor,
    mass: Tensor,
    share: float,
    vocab_size: int,
    start: int = 0,
) -> frozenset[int]:
    """Of `positions` (S,), those from `start` on of imported modules' tokens that get the most of
    the attention `mass` (S,): `share` of all cached tokens from `start` on.

    The prompt's last token is about to answer, and looks at what the answer is made of; those
    before it look at what the question names.
    """
    spans = [span for found in _modules(plan).values() for span in found]
    inside = torch.isin(positions, torch.tensor(_positions(spans, vocab_size)))
    inside &= positions >= start
    count = round(share * sum(p >= start for p in _positions(plan.reused, vocab_size)))
    order = mass[inside].argsort(descending=True, stable=True)[:count]
    return frozenset(positions[inside][order].tolist())


def _modules(plan: PromptPlan) -> dict[str, list[PlanSpan]]:
    """The cached spans of each module that the prompt imports at its top."""
    found: dict[str, list[PlanSpan]] = defaultdict(list)
    for span in plan.reused:
        _, _, inner = span.path.partition("/")
        if inner:
            found[inner.partition("/")[0]].append(span)
    return found


def _positions(spans: Iterable[PlanSpan], vocab_size: int) -> list[int]:
    """Of all tokens but a header's, which are beyond the vocabulary."""
    return [
        position
        for span in spans
        for position, token in enumerate(span.tokens, span.start)
        if token < vocab_size
    ]
