"""A model's folder without weights: a tiny tokenizer, chat markers, the context. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minillm.special_tokens import (
    ROLES,
    MarkerTexts,
    RoleMarkers,
    SpecialTokens,
    save_special_tokens,
)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = "the a to of and in you plan travel we go where when how long rain sun sea by train days"
VOCABULARY = 300


def write_folder(folder: Path, *, max_positions: int = 512, scheme: str = "rope") -> Path:
    """A checkpoint without its weights, and of its shape only what is read without them."""
    write_tokenizer(folder)
    shape = {"max_positions": max_positions, "position_scheme": scheme}
    (folder / "config.json").write_text(json.dumps({"model": shape}))
    return folder


def write_tokenizer(folder: Path) -> None:
    """A byte-level BPE with ChatML markers."""
    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    _save_roles(tokenizer, folder)


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
