"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), half-split convention.

Channel i of a head is paired with channel i + R/2 (R = rotary_dim), as in Hugging Face
checkpoints; the pair is a point in the plane that is turned by the angle position · ω_i, with
ω_i = theta^(-2i/R). Then q(p) · k(s) depends on p - s only. Layouts that pair neighbours
(2i, 2i + 1) are permuted into this one at conversion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from minillm.config import ModelConfig, RopeScaling

TURNED = 1 << 17
"""Numbers turned at a time: with their temporaries they fit the processor's cache."""


def frequencies(config: ModelConfig, length: int = 0) -> Tensor:
    """ω, float64 of shape (R/2,): radians per position of each channel pair, after scaling.

    `length` is that of the whole text; only scalings that follow it look at it.
    """
    half = config.rotary_dim // 2
    exponents = torch.arange(half, dtype=torch.float64) / half
    plain = config.rope_theta**-exponents
    scaling = config.rope_scaling
    if scaling is None:
        return plain
    if scaling.kind == "linear":
        return plain / scaling.factor
    if scaling.kind == "llama3":
        return _llama3(plain, scaling)
    if scaling.kind == "yarn":
        return _yarn(plain, scaling, config)
    if scaling.kind == "dynamic":
        return _dynamic(plain, scaling, length)
    is_long = length > scaling.original_max_positions
    factors = scaling.long_factors if is_long else scaling.short_factors
    return plain / torch.tensor(factors, dtype=torch.float64)


def _llama3(plain: Tensor, scaling: RopeScaling) -> Tensor:
    """Wavelengths up to original/high stay, from original/low on are divided, between blended."""
    turns = scaling.original_max_positions * plain / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return keep * plain + (1 - keep) * plain / scaling.factor


def _yarn(plain: Tensor, scaling: RopeScaling, config: ModelConfig) -> Tensor:
    """Channels that turn more than `beta_fast` times stay, fewer than `beta_slow` are divided."""

    def channel(turns: float) -> float:
        ratio = scaling.original_max_positions / (turns * 2 * math.pi)
        return config.rotary_dim * math.log(ratio) / (2 * math.log(config.rope_theta))

    low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.rotary_dim - 1)
    width = high - low or 0.001
    divide = ((torch.arange(len(plain), dtype=torch.float64) - low) / width).clamp(0, 1)
    return (1 - divide) * plain + divide * plain / scaling.factor


def _dynamic(plain: Tensor, scaling: RopeScaling, length: int) -> Tensor:
    """The base times b^(R/(R-2)): ω_i times b^(-2i/(R-2)), so that the slowest pair slows by b."""
    times = max(length / scaling.original_max_positions, 1.0)
    b = scaling.factor * times - (scaling.factor - 1)
    return plain * b ** -(torch.arange(len(plain), dtype=torch.float64) / (len(plain) - 1))


class Rope:
    """Turns queries and keys; its tables are computed once per forward and handed to all layers.

    >>> from minillm.families.llama import LlamaConfig
    >>> config = ModelConfig("llama", 8, 4, 4, 1, 1, 1, 4, 16, 1e-5, "rope", True,
    ...                      LlamaConfig(), rotary_dim=4)
    >>> rope = Rope(config)
    >>> x = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])                  # one token, one head, D = 4
    >>> turned = apply_rope(x, *rope.tables(torch.tensor([1]), torch.float32))
    >>> [round(v, 4) for v in turned.flatten().tolist()]            # (cos 1, 0, sin 1, 0)
    [0.5403, 0.0, 0.8415, 0.0]
    """

    def __init__(self, config: ModelConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.omega = frequencies(config).to(device)
        self.scale = config.rope_scaling.attention_factor if config.rope_scaling else 1.0

    def tables(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """`tables_of` the angles at integer `positions` (T,): two of (T, 1, R) in `dtype`.

        Angles are taken in float64: in float32 position 100,000 would already be off by 0.004.
        Frequencies that follow the length take it from the largest of the positions.
        """
        omega = self.omega
        if self.config.follows_length:
            omega = frequencies(self.config, int(positions.max()) + 1).to(omega.device)
        angles = positions.to(torch.float64)[:, None, None] * omega
        return tables_of(angles, dtype, self.scale)

    def turn(self, keys: Tensor, distance: int, out: Tensor | None = None) -> Tensor:
        """`keys` (..., n, D), already turned for their positions, moved on by `distance`.

        The rotation is additive: turning by p and then by d is turning by p + d. The scale of
        cos and sin is in the stored keys already and is not applied again. Raises `ValueError`
        where the frequencies follow the length, which the keys do not tell.

        In pieces of `TURNED`, because temporaries that leave the processor's cache cost several
        times as much: for 4,000 tokens of SmolLM2 a token takes 3.2 µs in float32 (which needs
        none) and 3.6 in bfloat16, in pieces of twice the size 2.5 and 12, being copied unturned 1.5
        and 0.6 (two cores of an EPYC with AVX-512).
        """
        self.check_movable()
        out = torch.empty_like(keys) if out is None else out
        angles = distance * self.omega
        wide = torch.promote_types(keys.dtype, torch.float32)
        cos, sin = angles.cos().to(wide), angles.sin().to(wide)
        for piece, place in zip(_pieces(keys), _pieces(out), strict=True):
            _turn_piece(piece, cos, sin, place)
        return out

    def check_movable(self) -> None:
        if self.config.follows_length:
            raise ValueError("keys cannot be moved: RoPE's frequencies follow the text's length")


def _pieces(x: Tensor) -> Iterator[Tensor]:
    """`x` (N, ..., n, D) cut by its first dimension, and by tokens where that is not enough."""
    for part in torch.split(x, max(1, TURNED * len(x) // max(1, x.numel()))):
        yield from torch.split(part, max(1, TURNED * x.shape[-2] // max(1, part.numel())), dim=-2)


def _turn_piece(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    """`apply_rope` into `out`, with few passes over memory."""
    half, wide = len(cos), x.to(cos.dtype)
    turned = out if out.dtype == cos.dtype else torch.empty_like(wide)
    torch.mul(wide, torch.cat((cos, cos, cos.new_ones(x.shape[-1] - 2 * half))), out=turned)
    turned[..., :half].addcmul_(wide[..., half : 2 * half], sin, value=-1)
    turned[..., half : 2 * half].addcmul_(wide[..., :half], sin)
    if turned is not out:
        out.copy_(turned)


@cache
def rope_for(config: ModelConfig, device: torch.device) -> Rope:
    """The one `Rope` of a configuration on a device."""
    return Rope(config, device)


def tables_of(angles: Tensor, dtype: torch.dtype, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """cos and ±sin of `angles` (..., R/2), each (..., R) in `dtype`: what a channel is multiplied
    by, and what the other one of its pair, which is added to it."""
    cos, sin = (angles.cos() * scale).to(dtype), (angles.sin() * scale).to(dtype)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the first R channels of `x` (..., D) by the two of `tables_of`, which broadcast.

    Reduced precision is widened to the tables' dtype for the rotation and rounded once after it.
    """
    R = cos.shape[-1]
    wide = x[..., :R].to(torch.promote_types(x.dtype, cos.dtype))
    others = wide.roll(R // 2, dims=-1)
    turned = torch.addcmul(wide * cos, others, sin).to(x.dtype)
    return turned if x.shape[-1] == R else torch.cat((turned, x[..., R:]), dim=-1)
