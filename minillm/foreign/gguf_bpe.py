"""A byte-level BPE vocabulary in GGUF's metadata, as the `tokenizer.json` that it once was.

The metadata has vocabulary, merges and the kinds of tokens, and of the pre-tokenizer only a name.
What a name stands for is in llama.cpp's source (`src/llama-vocab.cpp`) and in the publisher's own
file; each one here is held equal to llama.cpp on golden strings, and a name that is not here is
refused: a wrong guess would give ids that are almost right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minillm.errors import LoadError, shown
from minillm.foreign.gguf_vocabulary import numbers, strings
from minillm.foreign.sentencepiece_model import Kind

Step = Mapping[str, object]
_BYTES: Step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_BYTE_LEVEL: Step = {**_BYTES, "use_regex": True}
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA_3 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(regex: str) -> Step:
    return {
        "type": "Split",
        "pattern": {"Regex": regex},
        "behavior": "Isolated",
        "invert": False,
    }


def _digits(individual: bool) -> Step:
    return {"type": "Digits", "individual_digits": individual}


@dataclass(frozen=True)
class PreTokenizer:
    """How a text is cut into words, before merging begins inside of each.

    `whole_words`: a word that is a token is not merged together but taken. `adds_bos`: where the
    file does not say whether a text begins with the token for that.
    """

    steps: tuple[Step, ...]
    normalizer: Step | None = None
    whole_words: bool = False
    adds_bos: bool = False


_LLAMA_BPE = PreTokenizer(
    (_split(_LLAMA_3), {**_BYTES, "use_regex": False}), whole_words=True, adds_bos=True
)
PRE_TOKENIZERS = {
    "smollm": PreTokenizer((_digits(individual=True), _BYTE_LEVEL)),
    "falcon": PreTokenizer(
        (
            {"type": "Punctuation", "behavior": "Contiguous"},
            _BYTE_LEVEL,
            _digits(individual=False),
            _split("[0-9][0-9][0-9]"),
        )
    ),
    # MPT took GPT-NeoX's tokenizer, whose file composes characters first. llama.cpp leaves that
    # out, and gives other ids than the publisher for an "é" that is written as two characters.
    "mpt": PreTokenizer((_BYTE_LEVEL,), normalizer={"type": "NFC"}),
    "gpt-2": PreTokenizer((_BYTE_LEVEL,)),
    "llama-bpe": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
}


def pre_tokenizer_of(metadata: Mapping[str, object]) -> PreTokenizer:
    """Raises `LoadError` for one that is not known, or not named."""
    name = metadata.get("tokenizer.ggml.pre", "default")
    if not isinstance(name, str) or name not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS)
        raise LoadError(f"pre-tokenizer {shown(name)} is not supported in GGUF, known: {known}")
    return PRE_TOKENIZERS[name]


def bpe_definition(metadata: Mapping[str, object]) -> bytes:
    """The `tokenizer.json`; raises `LoadError` for what is inconsistent or not supported."""
    pre = pre_tokenizer_of(metadata)
    tokens, merges = strings(metadata, "tokens"), strings(metadata, "merges")
    kinds = numbers(metadata, "token_type", len(tokens))
    if len(set(tokens)) != len(tokens):
        raise LoadError("tokenizer.ggml.tokens has the same token twice")
    # Where a model has more rows than names, the file's maker invented names for the rest.
    vocab = {token: id for id, token in enumerate(tokens) if token != f"[PAD{id}]"}
    added = np.flatnonzero(np.isin(kinds, (Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED)))
    definition: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(id, tokens[id], special=bool(kinds[id] != Kind.USER_DEFINED))
            for id in added.tolist()
            if tokens[id] in vocab
        ],
        "normalizer": pre.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(pre.steps)},
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre.whole_words,
            "vocab": vocab,
            "merges": [_merge(merge) for merge in merges],
        },
    }
    return json.dumps(definition, ensure_ascii=False).encode()


def _added(id: int, content: str, special: bool) -> Step:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": content, **plain, "special": special}


def _merge(merge: str) -> list[str]:
    parts = merge.split(" ")  # a token holds no blank: byte-level BPE writes it as Ġ
    if len(parts) != 2:
        raise LoadError(f"the merge {shown(merge)} is not two tokens")
    return parts
