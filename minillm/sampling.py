"""From logits to the next token: greedy, temperature, top-k, top-p, reproducible by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. `temperature` 0 takes the likeliest token (greedy, the default).

    `top_k` keeps the k likeliest tokens (0: all); `top_p` then keeps the fewest of them that
    together hold at least that probability (Holtzman et al. 2020). The same `seed` draws the same
    tokens from the same logits; without one, every call differs.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}, expected 0 or more")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}, expected 0 (all) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}, expected more than 0 and at most 1")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, expected 0 or more and less than 2^63")


class Sampler:
    """Draws the tokens of one sequence; holds nothing but its random state."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def __call__(self, logits: Tensor) -> int:
        """The next token's id, from the logits (V,) of the last one."""
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        probabilities, ids = distribution(logits, self.sampling)
        return int(ids[torch.multinomial(probabilities, 1, generator=self._random)])


def distribution(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The probabilities that are drawn from, largest first, and their token ids, on the CPU.

    >>> p, ids = distribution(torch.tensor([0.0, 3.0, 2.0]), Sampling(temperature=1.0, top_p=0.9))
    >>> ids.tolist(), round(float(p[0]), 3)
    ([1, 2], 0.731)
    """
    scaled = logits.to("cpu", torch.float64)
    # Taken from the largest first, so that no temperature, however small, overflows.
    scaled = (scaled - scaled.max()) / sampling.temperature
    scaled, ids = scaled.sort(descending=True, stable=True)
    if sampling.top_k:
        scaled, ids = scaled[: sampling.top_k], ids[: sampling.top_k]
    probabilities = scaled.softmax(dim=0)
    before = probabilities.cumsum(dim=0) - probabilities
    kept = max(1, int((before < sampling.top_p).sum()))
    probabilities = probabilities[:kept]
    return probabilities / probabilities.sum(), ids[:kept]
