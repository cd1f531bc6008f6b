"""Every variant of the three families, each as one small random configuration."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

Fields = dict[str, Any]

VOCABULARY = 300


@dataclass(frozen=True)
class Case:
    """A variant: the fields of its configuration, and where its logits come from.

    `oracle` is `transformers`, `phi3` (the model of `transformers` that is a Llama with partial
    rotation) or `llm-foundry`, the MPT publisher's package. `spelling` rewrites the `config.json`
    that the oracle saved into that of an older checkpoint.
    """

    family: str
    variant: str
    config: Mapping[str, Any]
    oracle: str = "transformers"
    spelling: Callable[[Fields], Fields] = field(default=dict)

    @property
    def seed(self) -> int:
        return crc32(f"{self.family} {self.variant}".encode())

    @property
    def rng(self) -> random.Random:
        return random.Random(self.seed)


# Llama


def old_rope(config: Fields) -> Fields:
    """`rope_theta` beside `rope_scaling` with a `type`, as files before 2025 have it."""
    rope = dict(config.pop("rope_parameters"))
    kind = rope.pop("rope_type")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    return config


def rope(kind: str, **fields: object) -> Fields:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **fields}}


LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=256,
)
YARN = {"factor": 4.0, "original_max_position_embeddings": 256}
SHORT, LONG = [1.0, 1.1, 1.3, 1.5], [1.5, 2.0, 3.5, 7.0]

LLAMA: dict[str, Fields] = {
    "plain": {},
    "grouped heads": {"num_attention_heads": 6, "num_key_value_heads": 2},
    "one key/value head": {"num_attention_heads": 4, "num_key_value_heads": 1},
    "tied output": {"tie_word_embeddings": True},
    "theta 500,000": {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "both biases, grouped, tied": {
        "attention_bias": True,
        "mlp_bias": True,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "wide heads": {"num_attention_heads": 4, "hidden_size": 24, "head_dim": 16},
    "narrow heads": {"num_attention_heads": 4, "hidden_size": 64, "head_dim": 4},
    "linear": rope("linear", factor=2.5),
    "linear, old spelling": rope("linear", factor=4.0),
    "llama3": LLAMA3,
    "llama3, old spelling": LLAMA3,
    "yarn": rope("yarn", **YARN),
    "yarn, old spelling": rope("yarn", **YARN),
    "yarn, attention_factor": rope("yarn", attention_factor=1.7, **YARN),
    "yarn, mscale": rope("yarn", mscale=0.7, mscale_all_dim=1.2, **YARN),
    "yarn, not truncated": rope("yarn", truncate=False, beta_fast=24, beta_slow=2, **YARN),
    "partial": {"partial_rotary_factor": 0.5, "num_attention_heads": 4, "hidden_size": 32},
    "partial, grouped": {
        "partial_rotary_factor": 0.75,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 64,
    },
    "dynamic, within its length": rope("dynamic", factor=2.0) | {"max_position_embeddings": 4096},
    "dynamic, beyond": rope("dynamic", factor=3.0) | {"max_position_embeddings": 24},
    "longrope, short": rope(
        "longrope",
        short_factor=SHORT,
        long_factor=LONG,
        original_max_position_embeddings=4096,
        factor=2.0,
    )
    | {"head_dim": 8},
    "longrope, long": rope(
        "longrope", short_factor=SHORT, long_factor=LONG, original_max_position_embeddings=24
    )
    | {"head_dim": 8, "max_position_embeddings": 96},
    "Mistral without windows": {"model_type": "mistral", "sliding_window": None},
}


def llama_cases() -> Iterator[Case]:
    for variant, fields in LLAMA.items():
        rng = Case("llama", variant, {}).rng
        heads = rng.choice([2, 3, 4])
        config = {
            "vocab_size": VOCABULARY,
            "hidden_size": heads * rng.choice([8, 12]),
            "intermediate_size": rng.choice([24, 40]),
            "num_hidden_layers": rng.choice([2, 3]),
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "max_position_embeddings": 8192,
            "rms_norm_eps": rng.choice([1e-5, 1e-6]),
            "bos_token_id": None,
            "eos_token_id": None,
            **fields,
        }
        if "num_attention_heads" in fields and "hidden_size" not in fields:
            config["hidden_size"] = 8 * fields["num_attention_heads"]
        if "num_attention_heads" in fields and "num_key_value_heads" not in fields:
            config["num_key_value_heads"] = fields["num_attention_heads"]
        oracle = "phi3" if "partial" in variant else "transformers"
        old = "old" in variant or variant == "plain"
        yield Case("llama", variant, config, oracle, old_rope if old else dict)


# Falcon

MULTI_QUERY: Fields = {"multi_query": True, "parallel_attn": True}
NEW: Fields = {"new_decoder_architecture": True}
RW: Fields = {"multi_query": False, "parallel_attn": False, "alibi": True, "bias": True}

LEGACY = {
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "num_kv_heads": "n_head_kv",
    "hidden_size": "n_embed",
}


def legacy_7b(config: Fields) -> Fields:
    """As the first files of 7B were: old names, and no word of the newer options."""
    del config["new_decoder_architecture"], config["num_ln_in_parallel_attn"]
    del config["num_kv_heads"], config["tie_word_embeddings"], config["rope_parameters"]
    renamed = {LEGACY.get(name, name): value for name, value in config.items()}
    return renamed | {"model_type": "RefinedWebModel"}


def legacy_40b(config: Fields) -> Fields:
    """As the first files of 40B were: the number of key/value heads is all that they say."""
    del config["new_decoder_architecture"], config["num_ln_in_parallel_attn"]
    del config["multi_query"], config["rope_parameters"]
    renamed = {LEGACY.get(name, name): value for name, value in config.items()}
    return renamed | {"model_type": "RefinedWeb"}


FALCON: dict[str, Fields] = {
    "7B": MULTI_QUERY,
    "7B, num_kv_heads to be ignored": {**MULTI_QUERY, "num_kv_heads": 71},
    "7B, legacy names": MULTI_QUERY,
    "7B, output not tied": {**MULTI_QUERY, "tie_word_embeddings": False},
    "7B, bias": {**MULTI_QUERY, "bias": True},
    "40B": {**NEW, "num_attention_heads": 6, "num_kv_heads": 2},
    "40B, legacy names": {**NEW, "num_attention_heads": 8, "num_kv_heads": 4},
    "40B, bias": {**NEW, "num_attention_heads": 4, "num_kv_heads": 2, "bias": True},
    "40B, one key/value head": {**NEW, "num_attention_heads": 3, "num_kv_heads": 1},
    "40B, every head its own": {**NEW, "num_attention_heads": 3, "num_kv_heads": 3},
    "180B, parallel_attn and multi_query to be ignored": {
        **NEW,
        "num_attention_heads": 8,
        "num_kv_heads": 2,
        "multi_query": False,
    },
    "11B": {
        **NEW,
        "num_ln_in_parallel_attn": 1,
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "ffn_hidden_size": 72,
    },
    "11B, narrow MLP, theta": {
        **NEW,
        "num_ln_in_parallel_attn": 1,
        "num_attention_heads": 6,
        "num_kv_heads": 3,
        "ffn_hidden_size": 20,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_042.0},
    },
    "per-head interleaved": {"multi_query": False},
    "per-head interleaved, bias": {"multi_query": False, "bias": True},
    "sequential, rotary": {"parallel_attn": False},
    "sequential, interleaved, bias": {"multi_query": False, "parallel_attn": False, "bias": True},
    "RW": {**RW, "num_attention_heads": 4},
    "RW, 3 heads": {**RW, "num_attention_heads": 3},
    "RW, 6 heads, output not tied": {
        **RW,
        "num_attention_heads": 6,
        "tie_word_embeddings": False,
    },
    "RW, 12 heads": {**RW, "num_attention_heads": 12},
    "ALiBi, multi-query, parallel": {**MULTI_QUERY, "alibi": True, "num_attention_heads": 5},
    "ALiBi, 40B": {**NEW, "alibi": True, "num_attention_heads": 6, "num_kv_heads": 2},
    "linear": rope("linear", factor=2.0),
    "linear, old spelling": rope("linear", factor=2.0),
    "yarn": rope("yarn", **YARN),
    "dynamic, beyond": rope("dynamic", factor=2.0) | {"max_position_embeddings": 24},
}


def falcon_cases() -> Iterator[Case]:
    spellings = {
        "7B, legacy names": legacy_7b,
        "40B, legacy names": legacy_40b,
        "linear, old spelling": old_rope,
    }
    for variant, fields in FALCON.items():
        rng = Case("falcon", variant, {}).rng
        heads = fields.get("num_attention_heads", rng.choice([2, 3, 4, 6]))
        config = {
            "vocab_size": VOCABULARY,
            "hidden_size": heads * rng.choice([8, 12]),
            "num_hidden_layers": rng.choice([2, 3]),
            "num_attention_heads": heads,
            "layer_norm_epsilon": rng.choice([1e-5, 1e-6]),
            "bos_token_id": None,
            "eos_token_id": None,
            **fields,
        }
        yield Case("falcon", variant, config, spelling=spellings.get(variant, dict))


# MPT

GROUPED: Fields = {"attn_type": "grouped_query_attention", "kv_n_heads": 2}
MULTI: Fields = {"attn_type": "multiquery_attention"}
LEARNED: Fields = {"learned_pos_emb": True, "attn_config": {"alibi": False}}

MPT: dict[str, Fields] = {
    "plain, 4 heads": {"n_heads": 4},
    "plain, 8 heads": {"n_heads": 8},
    "3 heads": {"n_heads": 3},
    "5 heads": {"n_heads": 5},
    "6 heads": {"n_heads": 6},
    "12 heads": {"n_heads": 12},
    "clip_qkv": {"attn_config": {"clip_qkv": 0.8}},
    "softmax_scale": {"attn_config": {"softmax_scale": 0.2}},
    "clip_qkv and softmax_scale, 6 heads": {
        "n_heads": 6,
        "attn_config": {"clip_qkv": 1.1, "softmax_scale": 0.5},
    },
    "output not tied": {"tie_word_embeddings": False},
}

MPT_EXTRAS: dict[str, Fields] = {
    "biases": {"no_bias": False},
    "qk_ln": {"attn_config": {"qk_ln": True}},
    "qk_ln, biases": {"no_bias": False, "attn_config": {"qk_ln": True}},
    "qk_gn": {"attn_config": {"qk_gn": True}},
    "qk_gn, grouped, biases": {"no_bias": False, "attn_config": {"qk_gn": True, **GROUPED}},
    "multi-query": {"attn_config": MULTI},
    "multi-query, qk_ln": {"attn_config": {**MULTI, "qk_ln": True}},
    "grouped": {"attn_config": GROUPED},
    "grouped, 6 heads, clip_qkv, qk_ln": {
        "n_heads": 6,
        "attn_config": {**GROUPED, "clip_qkv": 0.9, "qk_ln": True},
    },
    "learned positions": LEARNED,
    "learned positions, biases": {**LEARNED, "no_bias": False},
    "logit_scale": {"logit_scale": 0.3},
    "logit_scale inv_sqrt_d_model, biases": {"logit_scale": "inv_sqrt_d_model", "no_bias": False},
    "expansion_ratio": {"expansion_ratio": 2},
    "expansion_ratio, a fraction": {"expansion_ratio": 1.5},
    "alibi_bias_max": {"attn_config": {"alibi_bias_max": 16}},
    "alibi_bias_max, 6 heads": {"n_heads": 6, "attn_config": {"alibi_bias_max": 4}},
    "softmax_scale, grouped": {"attn_config": {"softmax_scale": 0.4, **GROUPED}},
    "output not tied, norm_eps": {"tie_word_embeddings": False, "norm_eps": 1e-3},
    "all together": {
        "n_heads": 6,
        "no_bias": False,
        "expansion_ratio": 3,
        "logit_scale": "inv_sqrt_d_model",
        "attn_config": {
            **GROUPED,
            "clip_qkv": 1.2,
            "qk_ln": True,
            "softmax_scale": 0.3,
            "alibi_bias_max": 6,
        },
    },
}


def mpt_cases() -> Iterator[Case]:
    for variants, oracle in ((MPT, "transformers"), (MPT_EXTRAS, "llm-foundry")):
        for variant, fields in variants.items():
            rng = Case("mpt", variant, {}).rng
            heads = fields.get("n_heads", rng.choice([2, 4]))
            config = {
                "vocab_size": VOCABULARY,
                "d_model": heads * rng.choice([8, 12]),
                "n_heads": heads,
                "n_layers": rng.choice([2, 3]),
                "max_seq_len": 4096,
                "no_bias": True,
                **fields,
                "attn_config": {"alibi": True, **fields.get("attn_config", {})},
            }
            yield Case("mpt", variant, config, oracle)


CASES = (*llama_cases(), *falcon_cases(), *mpt_cases())

GOLDEN = {
    "llama": (
        "both biases, grouped, tied",
        "wide heads",
        "linear, old spelling",
        "llama3",
        "yarn, mscale",
        "yarn, not truncated",
        "partial, grouped",
        "dynamic, beyond",
        "longrope, long",
        "longrope, short",
        "Mistral without windows",
    ),
    "falcon": (
        "7B, num_kv_heads to be ignored",
        "7B, legacy names",
        "40B, legacy names",
        "40B",
        "11B",
        "per-head interleaved, bias",
        "RW, 6 heads, output not tied",
        "ALiBi, multi-query, parallel",
        "yarn",
    ),
    "mpt": (
        "clip_qkv and softmax_scale, 6 heads",
        "12 heads",
        "qk_ln, biases",
        "qk_gn, grouped, biases",
        "multi-query, qk_ln",
        "learned positions, biases",
        "expansion_ratio, a fraction",
        "alibi_bias_max, 6 heads",
        "all together",
    ),
}
"""The variants whose logits are kept for the default tests."""
