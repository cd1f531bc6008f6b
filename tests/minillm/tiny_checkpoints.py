"""A tiny Llama as other programs store it: a Hugging Face folder and a GGUF file.

Both writers name and order tensors on their own, from the formats' documents, so that they can
disagree with the tables in `minillm`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf_writer as g
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from minillm.tokenizer_json import BYTE_LEVEL_ALPHABET

Weights = Mapping[str, NDArray[np.float32]]

C, F, V, L, H, K, D = 32, 64, 260, 2, 4, 2, 8
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TOKENS = [*SPECIAL, *BYTE_LEVEL_ALPHABET, "Ġt"]
MERGES = ["Ġ t"]

HF_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": C,
    "intermediate_size": F,
    "vocab_size": V,
    "num_hidden_layers": L,
    "num_attention_heads": H,
    "num_key_value_heads": K,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}
TOKENIZER_CONFIG: dict[str, Any] = {
    "bos_token": "<|im_start|>",
    "eos_token": {"content": "<|im_end|>"},
    "unk_token": "<|endoftext|>",
    "chat_template": CHATML,
}


def weights(
    seed: int = 0, *, tied: bool = False, vocab_size: int = V
) -> dict[str, NDArray[np.float32]]:
    """Random weights under Hugging Face's names."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    found = {"model.embed_tokens.weight": draw(vocab_size, C), "model.norm.weight": 1 + draw(C)}
    for layer in range(L):
        prefix = f"model.layers.{layer}."
        found |= {
            f"{prefix}input_layernorm.weight": 1 + draw(C),
            f"{prefix}self_attn.q_proj.weight": draw(H * D, C),
            f"{prefix}self_attn.k_proj.weight": draw(K * D, C),
            f"{prefix}self_attn.v_proj.weight": draw(K * D, C),
            f"{prefix}self_attn.o_proj.weight": draw(C, H * D),
            f"{prefix}post_attention_layernorm.weight": 1 + draw(C),
            f"{prefix}mlp.gate_proj.weight": draw(F, C),
            f"{prefix}mlp.up_proj.weight": draw(F, C),
            f"{prefix}mlp.down_proj.weight": draw(C, F),
        }
    return found if tied else found | {"lm_head.weight": draw(vocab_size, C)}


def tokenizer_json() -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": id, "content": content, "special": True, **plain}
            for id, content in enumerate(SPECIAL)
        ],
        "pre_tokenizer": byte_level | {"use_regex": True},
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: id for id, token in enumerate(TOKENS)},
            "merges": MERGES,
        },
    }


def write_folder(
    folder: Path,
    tensors: Mapping[str, Tensor] | Weights,
    *,
    config: Mapping[str, Any] = HF_CONFIG,
    tokenizer: Mapping[str, Any] | None = None,
    tokenizer_config: Mapping[str, Any] = TOKENIZER_CONFIG,
    parts: int = 1,
) -> Path:
    """A Hugging Face folder; with `parts` above one an index and several weight files."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "config.json": config,
        "tokenizer.json": tokenizer or tokenizer_json(),
        "tokenizer_config.json": tokenizer_config,
    }
    for name, fields in content.items():
        (folder / name).write_text(json.dumps(fields), encoding="utf-8")
    as_torch = {name: torch.as_tensor(tensor) for name, tensor in tensors.items()}
    if parts == 1:
        save_file(as_torch, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(as_torch)
    files = [f"model-{part + 1:05}-of-{parts:05}.safetensors" for part in range(parts)]
    home = {name: files[i % parts] for i, name in enumerate(names)}
    for file in files:
        save_file({name: as_torch[name] for name in names if home[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": home}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def gguf_metadata(**changes: object) -> dict[str, object]:
    """The metadata of the tiny model; keys are changed by name, with `__` for the points."""
    metadata: dict[str, object] = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "llama.block_count": L,
        "llama.context_length": 512,
        "llama.embedding_length": C,
        "llama.feed_forward_length": F,
        "llama.attention.head_count": H,
        "llama.attention.head_count_kv": K,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 2.0**-17,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.chat_template": CHATML,
    }
    changed = metadata | {key.replace("__", "."): item for key, item in changes.items()}
    return {key: item for key, item in changed.items() if item is not None}


def interleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The rows of q or k as llama.cpp's converter writes them (`LlamaModel.permute`)."""
    shape = (heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return rows.reshape(shape).swapaxes(1, 2).reshape(rows.shape)


def gguf_tensor(name: str, array: NDArray[Any], kind: int = g.F32) -> g.Tensor:
    """Any array whose bytes are the tensor's; for F32 and F16 its shape is the tensor's too."""
    return g.Tensor(name, array.shape[::-1], kind, np.ascontiguousarray(array).tobytes())


def gguf_tensors(found: Weights) -> list[g.Tensor]:
    """All weights as float32 under GGUF's names."""
    stems = {
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    tensors = [
        gguf_tensor("token_embd.weight", found["model.embed_tokens.weight"]),
        gguf_tensor("output_norm.weight", found["model.norm.weight"]),
    ]
    for layer in range(L):
        for theirs, stem in stems.items():
            array = found[f"model.layers.{layer}.{theirs}.weight"]
            if stem in ("attn_q", "attn_k"):
                array = interleaved(array, H if stem == "attn_q" else K)
            tensors.append(gguf_tensor(f"blk.{layer}.{stem}.weight", array))
    if "lm_head.weight" in found:
        tensors.append(gguf_tensor("output.weight", found["lm_head.weight"]))
    return tensors


def write_gguf(
    path: Path, tensors: list[g.Tensor], metadata: Mapping[str, object] | None = None
) -> Path:
    pairs = (gguf_metadata() if metadata is None else metadata).items()
    path.write_bytes(g.gguf([(key, g.value(item)) for key, item in pairs], tensors))
    return path
