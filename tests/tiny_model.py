"""A tiny checkpoint in our own format, for tests of what works on a folder of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_tokenizer import VOCABULARY, write_tokenizer

from minillm.config import ModelConfig
from minillm.config_file import CheckpointConfig, save_config
from minillm.families.llama import LlamaConfig, weights
from minillm.weights_file import TensorSpec, write_weights


def write_checkpoint(folder: Path, *, max_positions: int = 512, seed: int = 0) -> Path:
    """Random weights, so large that whom a token sees decides its logits."""
    write_tokenizer(folder)
    config = ModelConfig(
        family="llama",
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        max_positions=max_positions,
        norm_eps=1e-5,
        position_scheme="rope",
        tie_embeddings=True,
        family_config=LlamaConfig(),
        rope_theta=1000.0,
        rotary_dim=8,
    )
    random = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(weight.shape, generator=random)
        if len(weight.shape) == 1
        else torch.randn(weight.shape, generator=random) * 2 * weight.shape[1] ** -0.5
        for name, weight in weights(config).items()
    }
    specs = {name: TensorSpec(t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    sha256 = write_weights(folder / "model.safetensors", specs, tensors.__getitem__)
    save_config(CheckpointConfig(config, sha256, {"format": "random", "seed": str(seed)}), folder)
    return folder
