"""The Falcon family: 7B, 40B, 180B, 11B, and the RW models.

    7B, 11B     x ─ norm ─┬─ attention ─┐
                │         └─ mlp ────── + ─ + ─►
                └───────────────────────────┘
    40B, 180B   x ─┬─ attention_norm ─ attention ─┐
                │  └─ mlp_norm ─ mlp ──────────── + ─ + ─►
                └─────────────────────────────────────┘
    RW          x ─┬─ attention_norm ─ attention ─ + ─┬─ mlp_norm ─ mlp ─ + ─►
                   └───────────────────────────────┘  └───────────────────┘

RoPE, or in RW ALiBi, whose bias is divided by √D as the scores are. This file is the wiring of
its block, the reader of its configurations, and the exhaustive table of its weight names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from minillm import alibi
from minillm.config import FamilyConfig, ModelConfig
from minillm.families.base import Facts, Grouped, SelfAttention, Weight, layer_weights
from minillm.families.fields import Fields, expect, flag, integer, real
from minillm.families.gguf_fields import Shapes, read_gguf_fields
from minillm.families.rope_fields import read_rope
from minillm.layers import LayerNorm, PlainMLP

Wiring = Literal["one norm", "two norms", "sequential"]


@dataclass(frozen=True)
class FalconConfig(FamilyConfig):
    """How a block is wired (see above), and whether its four linear layers have a bias.

    `rounded_alibi` computes slope · position in bfloat16, as the published code does: positions
    above 256 are then rounded, and the same text elsewhere gives other logits.
    """

    wiring: Wiring
    bias: bool = False
    rounded_alibi: bool = False


class FalconBlock(nn.Module):
    """x + attention + mlp, side by side on one norm or on two, or one after the other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        options = _options(config)
        C, F, eps = config.hidden_size, config.intermediate_size, config.norm_eps
        self.is_sequential = options.wiring == "sequential"
        self.attention_norm = LayerNorm(C, eps, bias=True)
        self.attention = SelfAttention(config, options.bias)
        self.mlp_norm = None if options.wiring == "one norm" else LayerNorm(C, eps, bias=True)
        self.mlp = PlainMLP(C, F, options.bias)

    def forward(self, x: Tensor, layer: int, facts: Facts) -> Tensor:
        normed = self.attention_norm(x)
        attended = x + self.attention(normed, layer, facts)
        if self.mlp_norm is not None:
            normed = self.mlp_norm(attended if self.is_sequential else x)
        hidden: Tensor = attended + self.mlp(normed)
        return hidden


SCHEMES = ("rope", "alibi")
block = FalconBlock


def final_norm(config: ModelConfig) -> nn.Module:
    return LayerNorm(config.hidden_size, config.norm_eps, bias=True)


def key_bias(config: ModelConfig, positions: Tensor, dtype: torch.dtype) -> Tensor:
    """What ALiBi adds to the scores of the keys at `positions` (S,): (H, S)."""
    slopes = alibi.slopes(config.num_heads).to(positions.device)
    if _options(config).rounded_alibi:
        bias = (slopes.bfloat16()[:, None] * positions).double()
    else:
        bias = alibi.bias(slopes, positions, torch.float64)
    scaled: Tensor = bias * config.head_dim**-0.5
    return scaled.to(dtype)


def _options(config: ModelConfig) -> FalconConfig:
    options = config.family_config
    assert isinstance(options, FalconConfig)
    return options


def read_config(hf: Fields) -> ModelConfig:
    """The configuration in Hugging Face's `config.json` of a Falcon checkpoint.

    Raises `KeyError` for a missing field and `ValueError` for one that is not supported.
    """
    expect(hf, activation="gelu", apply_residual_connection_post_layernorm=False)
    hidden_size = integer(hf, "hidden_size", "n_embed")
    num_heads = integer(hf, "num_attention_heads", "n_head")
    head_dim = hidden_size // num_heads
    # The first files of 40B (`RefinedWeb`; 7B is `RefinedWebModel`) do not name their architecture.
    is_new = flag(hf, "new_decoder_architecture", default=hf.get("model_type") == "RefinedWeb")
    wiring: Wiring
    if is_new:
        num_norms = integer(hf, "num_ln_in_parallel_attn", default=2)
        if num_norms not in (1, 2):
            raise ValueError(f"num_ln_in_parallel_attn is {num_norms}, expected 1 or 2")
        wiring = "two norms" if num_norms == 2 else "one norm"
        num_kv_heads = integer(hf, "num_kv_heads", "n_head_kv", default=num_heads)
    else:
        wiring = "one norm" if flag(hf, "parallel_attn", default=True) else "sequential"
        # `num_kv_heads` says 71 in the file of 7B: it counts in the new architecture only.
        num_kv_heads = 1 if flag(hf, "multi_query", default=True) else num_heads
    rope = read_rope(hf, head_dim, integer(hf, "max_position_embeddings", default=2048))
    has_alibi = flag(hf, "alibi", default=False)
    return ModelConfig(
        family="falcon",
        vocab_size=integer(hf, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=integer(hf, "ffn_hidden_size", default=4 * hidden_size),
        num_layers=integer(hf, "num_hidden_layers", "n_layer"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        max_positions=rope.max_positions,
        norm_eps=real(hf, "layer_norm_epsilon", default=1e-5),
        position_scheme="alibi" if has_alibi else "rope",
        tie_embeddings=flag(hf, "tie_word_embeddings", default=True),
        family_config=FalconConfig(wiring, flag(hf, "bias", default=False)),
        rope_theta=rope.theta,
        rotary_dim=rope.rotary_dim,
        rope_scaling=None if has_alibi else rope.scaling,
    )


def read_gguf_config(metadata: Fields, shapes: Shapes) -> ModelConfig:
    """The configuration in a GGUF file's metadata (`general.architecture` = `falcon`)."""
    wiring: Wiring = "two norms" if "blk.0.attn_norm_2.weight" in shapes else "one norm"
    eps = "attention.layer_norm_epsilon"
    return read_gguf_fields("falcon", metadata, shapes, eps, FalconConfig(wiring))


LAYERS = "transformer.h."
"""What stands before a layer's number in the names of a checkpoint."""

FUSED = "self_attention.query_key_value"

NORMS: dict[Wiring, tuple[str, str | None]] = {
    "one norm": ("input_layernorm", None),
    "two norms": ("ln_attn", "ln_mlp"),
    "sequential": ("input_layernorm", "post_attention_layernorm"),
}
"""What checkpoints call the norms before attention and MLP, by the block's wiring."""


def weights(config: ModelConfig) -> dict[str, Weight]:
    """Every weight of the model: our name, its shape, and the checkpoint's names for its rows.

    Rows of queries, keys and values lie by key/value head: the queries of its group, its key,
    its value. With one such head (multi-query) that is our order, with as many as query heads it
    is the per-head interleaving of the first architecture.
    """
    C, F, V, D = config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim
    H, K = config.num_heads, config.num_kv_heads
    by_group = Grouped(K, (H // K * D, D, D))
    options = _options(config)
    norm, mlp_norm = NORMS[options.wiring]
    table = layer_weights("embedding", (V, C), ["transformer.word_embeddings"])
    table |= layer_weights("norm", (C,), ["transformer.ln_f"], bias=True)
    if not config.tie_embeddings:
        table |= layer_weights("output", (V, C), ["lm_head"])
    for layer in range(config.num_layers):
        for name, shape, source, bias, order in (
            ("attention_norm", (C,), norm, True, None),
            ("mlp_norm", (C,), mlp_norm, True, None),
            ("attention.qkv", ((H + 2 * K) * D, C), FUSED, options.bias, by_group),
            ("attention.output", (C, H * D), "self_attention.dense", options.bias, None),
            ("mlp.up", (F, C), "mlp.dense_h_to_4h", options.bias, None),
            ("mlp.down", (C, F), "mlp.dense_4h_to_h", options.bias, None),
        ):
            if source is not None:
                theirs = [f"{LAYERS}{layer}.{source}"]
                table |= layer_weights(f"blocks.{layer}.{name}", shape, theirs, bias, order)
    return table


SKIPPED = ("inv_freq",)
"""Endings of checkpoint tensors that hold no weight and are recomputed."""


def gguf_names(config: ModelConfig) -> Mapping[str, str]:
    """GGUF's stems (of `blk.L.STEM.weight` or `STEM.weight`) to those of Hugging Face."""
    norm, mlp_norm = NORMS[_options(config).wiring]
    # With two norms, `attn_norm` is the one before the MLP.
    norms = {"attn_norm_2": norm, "attn_norm": mlp_norm} if mlp_norm else {"attn_norm": norm}
    return norms | {
        "token_embd": "transformer.word_embeddings",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
        "attn_qkv": FUSED,
        "attn_output": "self_attention.dense",
        "ffn_up": "mlp.dense_h_to_4h",
        "ffn_down": "mlp.dense_4h_to_h",
    }


GGUF_SKIPPED = ()
GGUF_INTERLEAVED = ()
