"""The other side of the comparisons: Llama as `transformers` publishes it.

Nothing here imports `minillm` or `pml`. What is known of a checkpoint or a prompt comes from
outside: a GGUF file read by the `gguf` package, a Hugging Face folder, or plain lists of numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from gguf import GGUFReader, dequantize
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()

SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
    "tie_word_embeddings": True,
}
"""The configuration its publisher gives, written down by hand."""

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


def smollm2(gguf_file: Path) -> LlamaForCausalLM:
    """SmolLM2-135M in float32, its weights read and dequantised by the `gguf` package.

    `from_pretrained(..., gguf_file=...)` of transformers 5.23 gives the same tensors bit for bit,
    but needs `accelerate` and half a minute.
    """
    config = LlamaConfig(**SMOLLM2)
    weights = {}
    for tensor in GGUFReader(gguf_file).tensors:
        numbers = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        block = BLOCK.fullmatch(tensor.name)
        stem = block[2] if block else tensor.name.removesuffix(".weight")
        if stem in ("attn_q", "attn_k"):
            numbers = half_split(numbers, config.head_dim)
        before = f"model.layers.{block[1]}." if block else ""
        weights[f"{before}{NAMES[stem]}.weight"] = numbers
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.load_state_dict(weights, strict=True, assign=True)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffer is in no file
    return model.eval().requires_grad_(False)


def half_split(rows: Tensor, head_dim: int) -> Tensor:
    """GGUF's order of a head's rows, 0 D/2 1 D/2+1 2 …, back to 0 1 2 … D-1."""
    order = [*range(0, head_dim, 2), *range(1, head_dim, 2)]
    return torch.cat([head[order] for head in rows.split(head_dim)])


def additive(mask: Tensor) -> Tensor:
    """A bool mask (queries, keys) as a float one (1, 1, queries, keys): 0, or the lowest number.

    Bool 4-D masks fail in several places of `transformers`; without any mask a jump in the
    positions is taken for the start of another sequence.
    """
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(mask.shape).masked_fill_(~mask, lowest)[None, None]


@torch.inference_mode()
def logits(
    model: LlamaForCausalLM,
    tokens: Sequence[int],
    positions: Sequence[int] | None = None,
    mask: Tensor | None = None,
    *,
    keep: int | Tensor = 0,
    cache: DynamicCache | None = None,
) -> Tensor:
    """Logits (T, V) of `tokens`, or of the last `keep` of them, or of those at indices `keep`.

    Without `positions` and `mask` the model is run as its users run it.
    """
    result = model(
        torch.tensor([tokens]),
        position_ids=None if positions is None else torch.tensor([positions]),
        attention_mask=None if mask is None else additive(mask).to(model.dtype),
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=keep,
    )
    return result.logits[0]
