"""What the laws compare with, and what they take engines apart with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from strategies import Case
from torch import Tensor

from minillm.generate import prefill
from minillm.kv import KVSegment, Placed
from minillm.model import Transformer
from pml.assembly import fresh_tokens, placed_segments
from pml.context import State
from pml.engine import PromptCache
from pml.plan import PromptPlan


def assert_same(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Equal to `tolerance` of the largest number expected; NaN is equal to nothing."""
    assert actual.shape == expected.shape
    scale = max(float(expected.abs().max()), 1e-300)
    difference = float((actual - expected).abs().max()) / scale
    assert difference <= tolerance, f"differs by {difference:.2e} of the scale {scale:.2e}"


def encoded(cache: PromptCache, plan: PromptPlan) -> Mapping[State, KVSegment]:
    """The stored segments of a plan's states, encoded if they are not there yet."""
    cache.prefill(plan)
    segments, _ = cache.segments(plan.states)
    assert all(segment.num_tokens == len(state.tokens) for state, segment in segments.items())
    return segments


def continued(model: Transformer, placed: list[Placed], plan: PromptPlan, moved: int = 0) -> Tensor:
    """Logits (V,) of the plan's last token, its fresh tokens over a cache that holds `placed`."""
    cache = model.new_cache()
    cache.bring(placed)
    tokens, positions = fresh_tokens(plan)
    return prefill(model, cache, tokens, [position + moved for position in positions])


def placed(case: Case) -> list[Placed]:
    return placed_segments(case.plan, encoded(case.cache, case.plan))


def recorded(model: Transformer) -> tuple[list[Tensor], torch.utils.hooks.RemovableHandle]:
    """A list that gets the last logits (V,) of every forward that gives any, until removed."""
    logits: list[Tensor] = []

    def record(module: torch.nn.Module, inputs: object, output: Tensor) -> None:
        logits.extend(output[-1:])

    return logits, model.register_forward_hook(record)
