"""A tiny checkpoint in our own format, for tests of what works on a folder of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minillm.config import ModelConfig
from minillm.config_file import CheckpointConfig, save_config
from minillm.families.llama import LlamaConfig, weights
from minillm.special_tokens import (
    ROLES,
    MarkerTexts,
    RoleMarkers,
    SpecialTokens,
    save_special_tokens,
)
from minillm.weights_file import TensorSpec, write_weights

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = "the a to of and in you plan travel we go where when how long rain sun sea by train days"
VOCABULARY = 300


def write_checkpoint(folder: Path, *, max_positions: int = 512, seed: int = 0) -> Path:
    """Random weights, so large that whom a token sees decides its logits; ChatML markers."""
    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    _save_roles(tokenizer, folder)
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


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    return tokenizer


def _save_roles(tokenizer: Tokenizer, folder: Path) -> None:
    texts = {role: MarkerTexts(f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ROLES}
    markers = {
        role: RoleMarkers(
            tuple(tokenizer.encode(text.open).ids), tuple(tokenizer.encode(text.close).ids)
        )
        for role, text in texts.items()
    }
    special = SpecialTokens(None, 0, frozenset({0, 2}), markers)
    save_special_tokens(special, texts, folder)
