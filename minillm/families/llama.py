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

from minillm.config import FamilyConfig, ModelConfig
from minillm.families.base import Facts, SelfAttention, Weight, layer_weights
from minillm.families.fields import Fields, expect, flag, integer, real
from minillm.families.gguf_fields import Shapes, read_gguf_fields
from minillm.families.rope_fields import read_rope
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


SCHEMES = ("rope",)
block = LlamaBlock


def final_norm(config: ModelConfig) -> nn.Module:
    return RMSNorm(config.hidden_size, config.norm_eps)


def read_config(hf: Fields) -> ModelConfig:
    """The configuration in Hugging Face's `config.json` of a Llama or Mistral checkpoint.

    Raises `KeyError` for a missing field and `ValueError` for one that is not supported.
    """
    is_mistral = hf.get("model_type") == "mistral"
    expect(hf, hidden_act="silu")
    window = hf.get("sliding_window", 4096 if is_mistral else None)
    if window is not None:
        raise ValueError(f"sliding_window is {window!r}: sliding windows are not supported")
    hidden_size, num_heads = integer(hf, "hidden_size"), integer(hf, "num_attention_heads")
    head_dim = integer(hf, "head_dim", default=hidden_size // num_heads)
    rope = read_rope(hf, head_dim, integer(hf, "max_position_embeddings", default=2048))
    return ModelConfig(
        family="llama",
        vocab_size=integer(hf, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=integer(hf, "intermediate_size"),
        num_layers=integer(hf, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=integer(hf, "num_key_value_heads", default=8 if is_mistral else num_heads),
        head_dim=head_dim,
        max_positions=rope.max_positions,
        norm_eps=real(hf, "rms_norm_eps", default=1e-6),
        position_scheme="rope",
        tie_embeddings=flag(hf, "tie_word_embeddings", default=False),
        family_config=LlamaConfig(
            attention_bias=flag(hf, "attention_bias", default=False),
            mlp_bias=flag(hf, "mlp_bias", default=False),
        ),
        rope_theta=rope.theta,
        rotary_dim=rope.rotary_dim,
        rope_scaling=rope.scaling,
    )


def read_gguf_config(metadata: Fields, shapes: Shapes) -> ModelConfig:
    """The configuration in a GGUF file's metadata (`general.architecture` = `llama`)."""
    eps = "attention.layer_norm_rms_epsilon"
    return read_gguf_fields("llama", metadata, shapes, eps, LlamaConfig())


LAYERS = "model.layers."
"""What stands before a layer's number in the names of a checkpoint."""


def weights(config: ModelConfig) -> dict[str, Weight]:
    """Every weight of the model: our name, its shape, and the checkpoint's names for its rows."""
    options = config.family_config
    assert isinstance(options, LlamaConfig)
    C, F, V, D = config.hidden_size, config.intermediate_size, config.vocab_size, config.head_dim
    H, K = config.num_heads, config.num_kv_heads
    attention, mlp = options.attention_bias, options.mlp_bias
    qkv, gate_up = [f"self_attn.{p}_proj" for p in "qkv"], ["mlp.gate_proj", "mlp.up_proj"]
    table = layer_weights("embedding", (V, C), ["model.embed_tokens"])
    table |= layer_weights("norm", (C,), ["model.norm"])
    if not config.tie_embeddings:
        table |= layer_weights("output", (V, C), ["lm_head"])
    for layer in range(config.num_layers):
        for name, shape, sources, bias in (
            ("attention_norm", (C,), ["input_layernorm"], False),
            ("attention.qkv", ((H + 2 * K) * D, C), qkv, attention),
            ("attention.output", (C, H * D), ["self_attn.o_proj"], attention),
            ("mlp_norm", (C,), ["post_attention_layernorm"], False),
            ("mlp.gate_up", (2 * F, C), gate_up, mlp),
            ("mlp.down", (C, F), ["mlp.down_proj"], mlp),
        ):
            theirs = [f"{LAYERS}{layer}.{source}" for source in sources]
            table |= layer_weights(f"blocks.{layer}.{name}", shape, theirs, bias)
    return table


SKIPPED = ("inv_freq",)
"""Endings of checkpoint tensors that hold no weight and are recomputed."""


def gguf_names(config: ModelConfig) -> Mapping[str, str]:
    """GGUF's stems (of `blk.L.STEM.weight` or `STEM.weight`) to those of Hugging Face."""
    return {
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


GGUF_SKIPPED = ("rope_freqs.weight",)

GGUF_INTERLEAVED = ("attn_q", "attn_k")
"""Stems whose rows pair neighbours (2i, 2i + 1) in GGUF and are put half-split at conversion."""
