"""From logits to the next token: greedy or drawn, cuts, penalties; reproducible by a seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

LIKELY = 1024
"""Tokens among which `top_p` is sought first: sorting all of 49,152 takes ten times as long."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. `temperature` 0 takes the likeliest token (greedy, the default).

    Cuts, each over what the one before it left: `top_k` keeps the k likeliest tokens (0: all),
    `min_p` those that are at least that many times as likely as the likeliest (Nguyen et al. 2024),
    `top_p` the fewest that together hold at least that probability (Holtzman et al. 2020).

    `repetition_penalty` divides the logits above 0 of tokens that the prompt or the answer holds,
    and multiplies those below (Keskar et al. 2019); `presence_penalty` is taken from the logit of
    each token of the answer, `frequency_penalty` as often as it stands there; `logit_bias` is added
    to the logits of some ids.

    The same `seed` draws the same tokens from the same logits; without one, every call differs.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _expect("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 or more")
        _expect("top_k", self.top_k, self.top_k >= 0, "0 (all) or more")
        _expect("top_p", self.top_p, 0 < self.top_p <= 1, "more than 0 and at most 1")
        _expect("min_p", self.min_p, 0 <= self.min_p <= 1, "0 to 1")
        penalty = self.repetition_penalty
        _expect("repetition_penalty", penalty, 0 < penalty < math.inf, "more than 0")
        for name in ("presence_penalty", "frequency_penalty"):
            _expect(name, getattr(self, name), -2 <= getattr(self, name) <= 2, "-2 to 2")
        for id, bias in self.logit_bias.items():
            _expect(f"logit_bias of token {id}", bias, -100 <= bias <= 100, "-100 to 100")
        seed = self.seed
        is_seed = seed is None or 0 <= seed < 2**63
        _expect("seed", seed, is_seed, "0 or more and less than 2^63")

    @property
    def adjusts(self) -> bool:
        """Whether logits are changed before a token is taken."""
        penalties = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty - 1)
        return any(penalties) or bool(self.logit_bias)


def _expect(name: str, found: float | None, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {found}, expected {expected}")


class Sampler:
    """Draws the tokens of one sequence; holds its random state and what has been said.

    `prompt` are the ids that `repetition_penalty` counts besides those drawn.
    """

    def __init__(self, sampling: Sampling, prompt: Iterable[int] = ()) -> None:
        self.sampling = sampling
        self._said = set(prompt)
        self._drawn: Counter[int] = Counter()
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def __call__(self, logits: Tensor) -> int:
        """The next token's id, from the logits (V,) of the last one."""
        if self.sampling.adjusts:
            logits = self._adjusted(logits)
        token = self._pick(logits)
        self._said.add(token)
        self._drawn[token] += 1
        return token

    def _pick(self, logits: Tensor) -> int:
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        probabilities, ids = distribution(logits, self.sampling)
        return int(ids[torch.multinomial(probabilities, 1, generator=self._random)])

    def _adjusted(self, logits: Tensor) -> Tensor:
        """The logits after penalties and bias, float64 on the CPU."""
        sampling, adjusted = self.sampling, logits.to("cpu", torch.float64, copy=True)
        said = torch.tensor(sorted(self._said), dtype=torch.long)
        before, penalty = adjusted[said], sampling.repetition_penalty
        adjusted[said] = torch.where(before > 0, before / penalty, before * penalty)
        for id, times in self._drawn.items():
            adjusted[id] -= sampling.presence_penalty + sampling.frequency_penalty * times
        for id, bias in sampling.logit_bias.items():
            adjusted[id] += bias
        return adjusted


def distribution(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The probabilities that are drawn from, largest first, and their token ids, on the CPU.

    >>> p, ids = distribution(torch.tensor([0.0, 3.0, 2.0]), Sampling(temperature=1.0, top_p=0.9))
    >>> ids.tolist(), round(float(p[0]), 3)
    ([1, 2], 0.731)
    """
    scaled = logits.to("cpu", torch.float64)
    # Taken from the largest first, so that no temperature, however small, overflows.
    scaled = (scaled - scaled.max()) / sampling.temperature
    if sampling.min_p:
        scaled = scaled.where(scaled >= math.log(sampling.min_p), -math.inf)
    is_candidate = (scaled >= _least(scaled, sampling)) & (scaled > -math.inf)
    ids = is_candidate.nonzero().flatten()
    weights, order = scaled[ids].exp().sort(descending=True, stable=True)
    ids = ids[order]
    if sampling.top_k:
        weights, ids = weights[: sampling.top_k], ids[: sampling.top_k]
    probabilities = weights / (weights if sampling.top_k else scaled.exp()).sum()
    before = probabilities.cumsum(dim=0) - probabilities
    kept = max(1, int((before < sampling.top_p).sum()))
    probabilities = probabilities[:kept]
    return probabilities / probabilities.sum(), ids[:kept]


def _least(scaled: Tensor, sampling: Sampling) -> float:
    """No token below this is drawn; so that not all need to be sorted."""
    likeliest = scaled.topk(min(sampling.top_k or LIKELY, len(scaled))).values
    if sampling.top_k or likeliest.exp().sum() >= sampling.top_p * scaled.exp().sum():
        return float(likeliest[-1])
    return float(scaled.min())
