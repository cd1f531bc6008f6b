"""The MPT family: 7B, 30B, and what else the publisher's llm-foundry can train.

    x ─┬─ attention_norm ─ attention ─ + ─┬─ mlp_norm ─ mlp ─ + ─►
       └───────────────────────────────┘  └───────────────────┘

ALiBi, or a learned vector for each position. Queries, keys and values may be clipped, queries and
keys then normed, the logits scaled. This file is the wiring of its block, the reader of its
configurations, and the exhaustive table of its weight names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from minillm import alibi
from minillm.config import FamilyConfig, ModelConfig
from minillm.families.base import Facts, SelfAttention, Weight, layer_weights
from minillm.families.fields import (
    Fields,
    expect,
    flag,
    integer,
    optional_real,
    real,
    section,
    text,
)
from minillm.layers import LayerNorm, PlainMLP


@dataclass(frozen=True)
class MPTConfig(FamilyConfig):
    """What members of the family do besides: `bias` in every linear layer and norm, `clip_qkv`
    to ±that, norms of queries and keys over their whole width or per head, another `softmax_scale`
    than 1/√D, `logit_scale` on the logits."""

    bias: bool = False
    clip_qkv: float | None = None
    qk_norm: Literal["none", "width", "head"] = "none"
    softmax_scale: float | None = None
    logit_scale: float | None = None


class MPTAttention(SelfAttention):
    """Clips queries, keys and values together, then norms queries and keys."""

    def __init__(self, config: ModelConfig) -> None:
        options = _options(config)
        super().__init__(config, options.bias, options.softmax_scale)
        self.clip = options.clip_qkv
        self.q_norm: LayerNorm | None = None
        self.k_norm: LayerNorm | None = None
        if options.qk_norm != "none":
            q, k = _normed_widths(config)
            self.q_norm = LayerNorm(q, config.norm_eps, options.bias)
            self.k_norm = LayerNorm(k, config.norm_eps, options.bias)

    def project(self, x: Tensor) -> Tensor:
        qkv = super().project(x)
        if self.clip is not None:
            qkv = qkv.clamp(-self.clip, self.clip)
        if self.q_norm is None or self.k_norm is None:
            return qkv
        q_width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q, k, v = torch.split(qkv, [q_width, kv_width, kv_width], dim=-1)
        return torch.cat((_normed(q, self.q_norm), _normed(k, self.k_norm), v), dim=-1)


def _normed(x: Tensor, norm: LayerNorm) -> Tensor:
    """`x` (T, n·W) with its stretches of W, the norm's width, normed each for itself."""
    normed: Tensor = norm(x.reshape(len(x), -1, len(norm.weight)))
    return normed.flatten(1)


def _normed_widths(config: ModelConfig) -> tuple[int, int]:
    """How many channels of the queries, and of the keys, are normed together."""
    D, per_head = config.head_dim, _options(config).qk_norm == "head"
    return (D, D) if per_head else (config.num_heads * D, config.num_kv_heads * D)


class MPTBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        bias, C, eps = _options(config).bias, config.hidden_size, config.norm_eps
        self.attention_norm = LayerNorm(C, eps, bias)
        self.attention = MPTAttention(config)
        self.mlp_norm = LayerNorm(C, eps, bias)
        self.mlp = PlainMLP(C, config.intermediate_size, bias)

    def forward(self, x: Tensor, layer: int, facts: Facts) -> Tensor:
        x = x + self.attention(self.attention_norm(x), layer, facts)
        hidden: Tensor = x + self.mlp(self.mlp_norm(x))
        return hidden


class ScaledNorm(LayerNorm):
    """The final norm. Logits are linear in what it gives, so this is where they are scaled."""

    def __init__(self, config: ModelConfig) -> None:
        options = _options(config)
        super().__init__(config.hidden_size, config.norm_eps, options.bias)
        self.scale = 1.0 if options.logit_scale is None else options.logit_scale

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


SCHEMES = ("alibi", "learned")
block, final_norm = MPTBlock, ScaledNorm


def key_bias(config: ModelConfig, positions: Tensor, dtype: torch.dtype) -> Tensor:
    """What ALiBi adds to the scores of the keys at `positions` (S,): (H, S)."""
    slopes = alibi.slopes(config.num_heads, config.alibi_max_bias)
    return alibi.bias(slopes.to(positions.device), positions, dtype)


def _options(config: ModelConfig) -> MPTConfig:
    options = config.family_config
    assert isinstance(options, MPTConfig)
    return options


def read_config(hf: Fields) -> ModelConfig:
    """The configuration in Hugging Face's `config.json` of an MPT checkpoint, as its publisher
    means it: `transformers` ignores half of its fields.

    Raises `KeyError` for a missing field and `ValueError` for one that is not supported.
    """
    attention, mlp = section(hf, "attn_config"), section(hf, "ffn_config")
    hidden_size, num_heads = integer(hf, "d_model"), integer(hf, "n_heads")
    head_dim, bias = hidden_size // num_heads, not flag(hf, "no_bias", default=True)
    _refuse_other_models(hf, attention, mlp)
    expect(hf, head_dim=head_dim, attention_bias=bias)
    has_alibi = flag(attention, "alibi", default=True)
    if not has_alibi and not flag(hf, "learned_pos_emb", default=True):
        raise ValueError("neither alibi nor learned_pos_emb is set: a model without positions")
    ratio = real(hf, "expansion_ratio", default=4.0)
    width = integer({"expansion_ratio · d_model": ratio * hidden_size}, "expansion_ratio · d_model")
    is_scaled_down = hf.get("logit_scale") == "inv_sqrt_d_model"
    return ModelConfig(
        family="mpt",
        vocab_size=integer(hf, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=integer(mlp, "ffn_hidden_size", default=width),
        num_layers=integer(hf, "n_layers"),
        num_heads=num_heads,
        num_kv_heads=_num_kv_heads(attention, num_heads),
        head_dim=head_dim,
        max_positions=integer(hf, "max_seq_len"),
        norm_eps=real(hf, "norm_eps", "layer_norm_epsilon", default=1e-5),
        position_scheme="alibi" if has_alibi else "learned",
        tie_embeddings=flag(hf, "tie_word_embeddings", default=True),
        family_config=MPTConfig(
            bias=bias,
            clip_qkv=optional_real(attention, "clip_qkv") or None,
            qk_norm=_qk_norm(attention),
            softmax_scale=optional_real(attention, "softmax_scale"),
            logit_scale=hidden_size**-0.5 if is_scaled_down else optional_real(hf, "logit_scale"),
        ),
        alibi_max_bias=real(attention, "alibi_bias_max", default=8.0),
    )


def _refuse_other_models(hf: Fields, attention: Fields, mlp: Fields) -> None:
    expect(hf, final_logit_softcapping=None, block_overrides=None)
    expect(attention, rope=False, prefix_lm=False, fused_qkv=True, kv_dim=None)
    expect(attention, sliding_window_size=-1, attn_logit_softcapping=None)
    expect(section(attention, "attn_temperature_tuning"), attn_scale=0.0)
    expect(mlp, ffn_type="mptmlp", ffn_act_fn={"name": "gelu", "approximate": "none"})
    norm = text(hf, "norm_type", default="layernorm")
    if norm.lower() not in ("layernorm", "low_precision_layernorm"):
        raise ValueError(f"norm_type is {norm!r}, expected a layernorm")


def _num_kv_heads(attention: Fields, num_heads: int) -> int:
    kind = text(attention, "attn_type", default="multihead_attention")
    if kind == "grouped_query_attention":
        return integer(attention, "kv_n_heads")
    known = {"multihead_attention": num_heads, "multiquery_attention": 1}
    if kind not in known:
        raise ValueError(f"attn_type is {kind!r}, which is not supported")
    expect(attention, kv_n_heads=known[kind])
    return known[kind]


def _qk_norm(attention: Fields) -> Literal["none", "width", "head"]:
    over_width, per_head = (flag(attention, name, default=False) for name in ("qk_ln", "qk_gn"))
    if over_width and per_head:
        raise ValueError("qk_ln and qk_gn are both set, expected one of them")
    return "width" if over_width else "head" if per_head else "none"


LAYERS = "transformer.blocks."
"""What stands before a layer's number in the names of a checkpoint."""


def weights(config: ModelConfig) -> dict[str, Weight]:
    """Every weight of the model: our name, its shape, and the checkpoint's names for its rows."""
    C, F, V, D = config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim
    H, K = config.num_heads, config.num_kv_heads
    options = _options(config)
    layer_parts = {
        "attention_norm": ((C,), "norm_1"),
        "attention.qkv": (((H + 2 * K) * D, C), "attn.Wqkv"),
        "attention.output": ((C, H * D), "attn.out_proj"),
        "mlp_norm": ((C,), "norm_2"),
        "mlp.up": ((F, C), "ffn.up_proj"),
        "mlp.down": ((C, F), "ffn.down_proj"),
    }
    if options.qk_norm != "none":
        for part, width in zip("qk", _normed_widths(config), strict=True):
            layer_parts[f"attention.{part}_norm"] = ((width,), f"attn.{part}_ln")
    table = layer_weights("embedding", (V, C), ["transformer.wte"])
    table |= layer_weights("norm", (C,), ["transformer.norm_f"], options.bias)
    if config.position_scheme == "learned":
        positions = (config.max_positions, C)
        table |= layer_weights("position_embedding", positions, ["transformer.wpe"])
    if not config.tie_embeddings:
        table |= layer_weights("output", (V, C), ["lm_head"])
    for layer in range(config.num_layers):
        for name, (shape, source) in layer_parts.items():
            theirs = [f"{LAYERS}{layer}.{source}"]
            table |= layer_weights(f"blocks.{layer}.{name}", shape, theirs, options.bias)
    return table


SKIPPED = ()
"""Endings of checkpoint tensors that hold no weight and are recomputed."""
