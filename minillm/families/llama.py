"""The Llama family: Llama 1-3, Code Llama, TinyLlama, SmolLM2, Vicuna, Mistral without windows.

    x ─┬─ attention_norm ─ attention ─ + ─┬─ mlp_norm ─ mlp ─ + ─►
       └──────────────────────────────┘   └──────────────────┘

This file is the wiring of its block, the reader of its configurations, and the exhaustive table
of its weight names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from minillm.config import FamilyConfig, ModelConfig, RopeScaling
from minillm.families.base import Facts, SelfAttention, Weight
from minillm.layers import GatedMLP, RMSNorm


@dataclass(frozen=True)
class LlamaConfig(FamilyConfig):
    """Biases that some members of the family have on q, k, v and o, and on the three of the MLP."""

    attention_bias: bool = False
    mlp_bias: bool = False


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        options = config.family_config
        assert isinstance(options, LlamaConfig)
        self.attention_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attention = SelfAttention(config, bias=options.attention_bias)
        self.mlp_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, options.mlp_bias)

    def forward(self, x: Tensor, layer: int, facts: Facts) -> Tensor:
        x = x + self.attention(self.attention_norm(x), layer, facts)
        hidden: Tensor = x + self.mlp(self.mlp_norm(x))
        return hidden


def block(config: ModelConfig) -> nn.Module:
    return LlamaBlock(config)


def final_norm(config: ModelConfig) -> nn.Module:
    return RMSNorm(config.hidden_size, config.norm_eps)


def read_config(hf: Mapping[str, object]) -> ModelConfig:
    """The configuration in Hugging Face's `config.json` of a Llama checkpoint.

    Raises `KeyError` for a missing field and `ValueError` for one that is not supported.
    """
    hidden_size, num_heads = _int(hf, "hidden_size"), _int(hf, "num_attention_heads")
    head_dim = _int(hf, "head_dim", hidden_size // num_heads)
    if hf.get("hidden_act", "silu") != "silu":
        raise ValueError(f"hidden_act is {hf['hidden_act']!r}, expected 'silu'")
    if hf.get("sliding_window") is not None:
        raise ValueError(f"sliding_window is {hf['sliding_window']!r}, expected none")
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    if not isinstance(rope, Mapping):
        raise ValueError(f"rope_parameters is {rope!r}, expected an object")
    theta = rope.get("rope_theta", hf.get("rope_theta", 10000.0))
    return ModelConfig(
        family="llama",
        vocab_size=_int(hf, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=_int(hf, "intermediate_size"),
        num_layers=_int(hf, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=_int(hf, "num_key_value_heads", num_heads),
        head_dim=head_dim,
        max_positions=_int(hf, "max_position_embeddings", 2048),
        norm_eps=_float(hf, "rms_norm_eps", 1e-6),
        position_scheme="rope",
        tie_embeddings=bool(hf.get("tie_word_embeddings", False)),
        family_config=LlamaConfig(
            attention_bias=bool(hf.get("attention_bias", False)),
            mlp_bias=bool(hf.get("mlp_bias", False)),
        ),
        rope_theta=_float({"rope_theta": theta}, "rope_theta"),
        rotary_dim=head_dim,
        rope_scaling=_rope_scaling(rope),
    )


def _rope_scaling(rope: Mapping[str, object]) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling("linear", _float(rope, "factor"))
    if kind == "llama3":
        return RopeScaling(
            "llama3",
            _float(rope, "factor"),
            original_max_positions=_int(rope, "original_max_position_embeddings"),
            low_freq_factor=_float(rope, "low_freq_factor"),
            high_freq_factor=_float(rope, "high_freq_factor"),
        )
    raise ValueError(f"rope_type is {kind!r}, supported are 'default', 'linear' and 'llama3'")


def read_gguf_config(metadata: Mapping[str, object]) -> ModelConfig:
    """The configuration in a GGUF file's metadata (`general.architecture` = `llama`)."""
    prefix = "llama."
    llama = {key.removeprefix(prefix): v for key, v in metadata.items() if key.startswith(prefix)}
    if str(llama.get("rope.scaling.type", "none")) != "none":
        raise ValueError(f"rope scaling {llama['rope.scaling.type']!r} is not supported in GGUF")
    num_heads, hidden_size = _int(llama, "attention.head_count"), _int(llama, "embedding_length")
    head_dim = _int(llama, "attention.key_length", hidden_size // num_heads)
    tokens = metadata.get("tokenizer.ggml.tokens")
    vocab_size = len(tokens) if isinstance(tokens, list | tuple) else 0
    return ModelConfig(
        family="llama",
        vocab_size=_int(llama, "vocab_size", vocab_size),
        hidden_size=hidden_size,
        intermediate_size=_int(llama, "feed_forward_length"),
        num_layers=_int(llama, "block_count"),
        num_heads=num_heads,
        num_kv_heads=_int(llama, "attention.head_count_kv", num_heads),
        head_dim=head_dim,
        max_positions=_int(llama, "context_length"),
        norm_eps=_float(llama, "attention.layer_norm_rms_epsilon"),
        position_scheme="rope",
        tie_embeddings=False,
        family_config=LlamaConfig(),
        rope_theta=_float(llama, "rope.freq_base", 10000.0),
        rotary_dim=_int(llama, "rope.dimension_count", head_dim),
    )


def weights(config: ModelConfig) -> dict[str, Weight]:
    """Every weight of the model: our name, its shape, and the checkpoint's names for its rows."""
    options = config.family_config
    assert isinstance(options, LlamaConfig)
    C, F, V, D = config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim
    H, K = config.num_heads, config.num_kv_heads
    table = {
        "embedding.weight": Weight((V, C), ("model.embed_tokens.weight",)),
        "norm.weight": Weight((C,), ("model.norm.weight",)),
    }
    if not config.tie_embeddings:
        table["output.weight"] = Weight((V, C), ("lm_head.weight",))
    linears = {
        "attention.qkv": ((H + 2 * K) * D, C, ("q", "k", "v"), "self_attn.{}_proj"),
        "attention.output": (C, H * D, ("o",), "self_attn.{}_proj"),
        "mlp.gate_up": (2 * F, C, ("gate", "up"), "mlp.{}_proj"),
        "mlp.down": (C, F, ("down",), "mlp.{}_proj"),
    }
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        for name, source in norms.items():
            table[f"{ours}{name}.weight"] = Weight((C,), (f"{theirs}{source}.weight",))
        for name, (rows, columns, parts, pattern) in linears.items():
            sources = [theirs + pattern.format(part) for part in parts]
            weight = Weight((rows, columns), tuple(f"{source}.weight" for source in sources))
            table[f"{ours}{name}.weight"] = weight
            if options.attention_bias if name.startswith("attention") else options.mlp_bias:
                bias = Weight((rows,), tuple(f"{source}.bias" for source in sources))
                table[f"{ours}{name}.bias"] = bias
    return table


SKIPPED = ("rotary_emb.inv_freq",)
"""Endings of checkpoint tensors that hold no weight and are recomputed."""

GGUF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF's stems (of `blk.L.STEM.weight` or `STEM.weight`) to those of Hugging Face."""

GGUF_SKIPPED = ("rope_freqs.weight",)

GGUF_INTERLEAVED = ("attn_q", "attn_k")
"""Stems whose rows pair neighbours (2i, 2i + 1) in GGUF and are put half-split at conversion."""


def _int(fields: Mapping[str, object], name: str, default: int | None = None) -> int:
    value = fields.get(name)
    value = default if value is None else value
    if value is None:
        raise KeyError(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, expected a whole number")
    return value


def _float(fields: Mapping[str, object], name: str, default: float | None = None) -> float:
    value = fields.get(name)
    value = default if value is None else value
    if value is None:
        raise KeyError(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r}, expected a number")
    return float(value)
