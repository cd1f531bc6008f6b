"""RoPE in a Hugging Face configuration, in its two spellings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from minillm.config import RopeScaling
from minillm.families.fields import Fields, flag, integer, real, section, text, value


@dataclass(frozen=True)
class RopeFields:
    """What a configuration says of RoPE, and how many positions the model takes with it."""

    theta: float
    rotary_dim: int
    scaling: RopeScaling | None
    max_positions: int


def read_rope(fields: Fields, head_dim: int, trained: int) -> RopeFields:
    """RoPE for heads of `head_dim` channels, `trained` positions (`max_position_embeddings`).

    It is in `rope_parameters`, or in `rope_theta`, `partial_rotary_factor` and `rope_scaling`.
    With linear and dynamic scaling `max_position_embeddings` is the length before scaling.
    """
    rope = section(fields, "rope_scaling", "rope_parameters")
    if any(isinstance(part, Mapping) for part in rope.values()):
        raise ValueError("rope_parameters differ from layer to layer: that is not supported")
    shared = {name: fields.get(name) for name in ("rope_theta", "partial_rotary_factor")}
    rope = shared | {name: part for name, part in rope.items() if part is not None}
    rotary_dim = int(head_dim * real(rope, "partial_rotary_factor", default=1.0))
    kind = text(rope, "rope_type", "type", default="default")
    # Where the length before scaling is given twice, the one outside is what counts.
    name = "original_max_position_embeddings"
    original = integer(fields, name, default=integer(rope, name, default=trained))
    scaling = None if kind == "default" else _scaling(kind, rope, original, trained)
    length = trained
    if scaling is not None and scaling.kind in ("linear", "dynamic", "yarn"):
        length = max(trained, int(scaling.factor * scaling.original_max_positions))
    return RopeFields(real(rope, "rope_theta", default=10000.0), rotary_dim, scaling, length)


def _scaling(kind: str, rope: Fields, original: int, trained: int) -> RopeScaling:
    if kind == "linear":
        return RopeScaling("linear", real(rope, "factor"), original_max_positions=trained)
    if kind == "dynamic":
        return RopeScaling("dynamic", real(rope, "factor"), original_max_positions=trained)
    factor = real(rope, "factor", default=trained / original)
    if kind == "llama3":
        return RopeScaling(
            "llama3",
            real(rope, "factor"),
            original_max_positions=original,
            low_freq_factor=real(rope, "low_freq_factor"),
            high_freq_factor=real(rope, "high_freq_factor"),
        )
    if kind == "yarn":
        return RopeScaling(
            "yarn",
            factor,
            original_max_positions=original,
            beta_fast=real(rope, "beta_fast", default=32.0) or 32.0,
            beta_slow=real(rope, "beta_slow", default=1.0) or 1.0,
            attention_factor=real(rope, "attention_factor", default=_yarn_factor(rope, factor)),
            truncate=flag(rope, "truncate", default=True),
        )
    if kind == "longrope":
        plain = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
        return RopeScaling(
            "longrope",
            factor,
            original_max_positions=original,
            attention_factor=real(rope, "attention_factor", default=plain),
            short_factors=_factors(rope, "short_factor"),
            long_factors=_factors(rope, "long_factor"),
        )
    known = "default, linear, llama3, yarn, dynamic and longrope"
    raise ValueError(f"rope_type is {kind!r}, supported are {known}")


def _yarn_factor(rope: Fields, factor: float) -> float:
    """What yarn multiplies cos and sin by, where the configuration does not say it."""

    def grown(mscale: float) -> float:
        return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0

    above, below = rope.get("mscale"), rope.get("mscale_all_dim")
    if above and below:
        return grown(real(rope, "mscale")) / grown(real(rope, "mscale_all_dim"))
    return grown(1.0)


def _factors(rope: Fields, name: str) -> tuple[float, ...]:
    found = value(rope, name)
    if not isinstance(found, list):
        raise ValueError(f"{name} is {found!r}, expected a list of numbers")
    return tuple(real({name: number}, name) for number in found)
