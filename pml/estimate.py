"""What encoding will take, told before it starts: tokens, memory, and about how long."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from minillm.model import ForwardPlan, Run, Transformer
from pml.engine import PromptCache
from pml.plan import PromptPlan


@dataclass(frozen=True)
class Estimate:
    """The states that a prompt needs and the store lacks. `kv_bytes` is exact, `seconds` is not."""

    states: int
    tokens: int
    kv_bytes: int
    seconds: float


def estimate(cache: PromptCache, plan: PromptPlan) -> Estimate:
    """What `plan` still needs encoded. Where that is nothing, nothing is measured."""
    missing = cache.missing(plan)
    tokens = sum(len(state.tokens) for state in missing)
    model = cache.model.transformer
    kv_bytes = tokens * model.config.kv_bytes_per_token(model.dtype.itemsize)
    return Estimate(len(missing), tokens, kv_bytes, tokens and tokens / speed(model, tokens))


def speed(model: Transformer, tokens: int) -> float:
    """Tokens a second, from a forward of 16 to 128 of them; at most an eighth of `tokens`.

    The first forward, which maps memory and starts threads, is not counted.
    """
    count = max(16, min(128, tokens // 8, model.config.max_positions))
    ids = torch.zeros(count, dtype=torch.long, device=model.device)
    positions = torch.arange(count, device=model.device)
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        logits = model(ids, positions, ForwardPlan([Run(model.new_cache(count), count)], [0]))
        logits[0, 0].item()  # on a GPU: until it is done
    return count / (time.perf_counter() - started)
