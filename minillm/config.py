"""What a model is made of: the fields that all families share, frozen and flat.

Each family file adds one frozen `FamilyConfig` of its own for what only that family knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PositionScheme = Literal["rope", "alibi", "learned"]


@dataclass(frozen=True)
class FamilyConfig:
    """Base of the per-family options (`families/llama.py`: `LlamaConfig`)."""


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE's frequencies are stretched for contexts longer than the pre-trained one.

    `linear` divides every frequency by `factor`; `llama3` divides the long wavelengths only and
    blends in between (Llama 3.1, `low_freq_factor`, `high_freq_factor`); `yarn` interpolates by
    wavelength and scales cos and sin by `attention_factor` (Peng et al. 2023, arXiv 2309.00071),
    between whole channels where it is to `truncate`.

    Two kinds follow the length of the text, so that keys of one text are wrong in another:
    `dynamic` raises the base once the text is longer than `original_max_positions`; `longrope`
    then divides each frequency by its own of `long_factors`, before by its own of
    `short_factors` (Ding et al. 2024, arXiv 2402.13753).
    """

    kind: Literal["linear", "llama3", "yarn", "dynamic", "longrope"]
    factor: float
    original_max_positions: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0
    truncate: bool = True
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()

    def check(self, rotary_dim: int) -> None:
        """Raises `ValueError` for numbers that give no frequencies for `rotary_dim` channels."""
        pairs, factors = rotary_dim // 2, (self.short_factors, self.long_factors)
        holds = {
            "factor": self.factor > 0,
            "original_max_positions": self.kind == "linear" or self.original_max_positions > 0,
            "high_freq_factor": self.high_freq_factor > self.low_freq_factor,
            "beta_fast": self.beta_fast > 0,
            "beta_slow": self.beta_slow > 0,
            "short_factors": all(factor > 0 for factor in self.short_factors),
            "long_factors": all(factor > 0 for factor in self.long_factors),
        }
        for name, does in holds.items():
            if not does:
                raise ValueError(f"{name} of {self.kind} RoPE is {getattr(self, name)}")
        if self.kind == "longrope" and any(len(given) != pairs for given in factors):
            counts = " and ".join(str(len(given)) for given in factors)
            raise ValueError(f"longrope has {counts} factors, expected {pairs} of each")
        if self.kind == "dynamic" and pairs < 2:
            raise ValueError(f"dynamic RoPE turns {rotary_dim} channels, expected 4 or more")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a decoder-only transformer.

    `num_heads` query heads share `num_kv_heads` key/value heads; `rotary_dim` of each head's
    `head_dim` channels are turned by RoPE; `max_positions` is the context length. With `learned`
    positions a table of `max_positions` vectors is added to the embedding.
    """

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float
    position_scheme: PositionScheme
    tie_embeddings: bool
    family_config: FamilyConfig
    rope_theta: float = 10000.0
    rotary_dim: int = 0
    rope_scaling: RopeScaling | None = None
    alibi_max_bias: float = 8.0

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads")
        for name in (*sizes, "num_kv_heads", "head_dim", "max_positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"{self.num_heads} query heads cannot share {self.num_kv_heads} key/value heads"
            )
        if self.position_scheme == "rope" and not (
            0 < self.rotary_dim <= self.head_dim and self.rotary_dim % 2 == 0
        ):
            raise ValueError(
                f"rotary_dim is {self.rotary_dim}, expected an even number up to {self.head_dim}"
            )
        if self.position_scheme == "rope" and self.rope_theta <= 1:
            raise ValueError(f"rope_theta is {self.rope_theta}, expected more than 1")
        if self.rope_scaling is not None:
            self.rope_scaling.check(self.rotary_dim)

    @property
    def follows_length(self) -> bool:
        """Whether keys depend on how long the whole text is: it is then prefilled at once, and no
        key is of use in another text."""
        scaling = self.rope_scaling
        return scaling is not None and scaling.kind in ("dynamic", "longrope")

    def kv_bytes_per_token(self, bytes_per_number: int) -> int:
        """Bytes of keys and values that one token keeps, over all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * bytes_per_number
