"""The byte-pair tokenizer of the tiny models, trained on the text that they are."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minillm.special_tokens import SpecialTokens, save_special_tokens
from tiny.facts import HEADS, NUMBERS, TAILS, samples
from tiny.rows import prompt

SIZE = 768
TEXTS = Path(__file__).parent.parent.parent / "tests" / "parity" / "texts"
PROSE = TEXTS / "a_scandal_in_bohemia.txt"
BOS, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPECIAL = (BOS, END, UNKNOWN)
NAME = re.compile(f"({'|'.join(HEADS)})({'|'.join(TAILS)})")


def prose() -> str:
    """Plain public-domain text, its lines joined."""
    return " ".join(PROSE.read_text(encoding="utf-8").split())


def write_tokenizer(folder: Path) -> None:
    """`tokenizer.json` and `roles.json`: a token that begins every text, one that ends answers.

    Syllables and numbers are trained as words of their own, so that every name is two tokens and
    every number one.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    frames = [
        NAME.sub("", text)
        for sample in islice(samples(0, 4), 1000)
        for text in (*sample.documents, *map(prompt, sample.questions))
    ]
    wholes = [f" {whole}" for whole in (*HEADS, *NUMBERS)] + TAILS
    tokenizer.train_from_iterator([prose(), *frames, *wholes * 300], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = SpecialTokens(bos=0, placeholder=2, stop=frozenset({1}))
    save_special_tokens(special, {}, folder)
