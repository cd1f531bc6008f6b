"""The tokenizer in a GGUF file's metadata, as the `tokenizer.json` that it once was.

The metadata has vocabulary, merges and the kinds of tokens, and of the pre-tokenizer only a name.
What a name stands for is in llama.cpp's source (`src/llama-vocab.cpp`); each one here is held
equal to it on golden strings, and a name that is not here is refused: a wrong guess would give
ids that are almost right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from minillm.errors import LoadError, shown
from minillm.foreign.tokenizer import ForeignTokenizer
from minillm.gguf_values import StringArray

_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
PRE_TOKENIZERS: dict[str, Sequence[Mapping[str, object]]] = {
    "smollm": ({"type": "Digits", "individual_digits": True}, _BYTE_LEVEL),
}
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4


def tokenizer_of_gguf(metadata: Mapping[str, object]) -> ForeignTokenizer:
    """Raises `LoadError` for what is missing, inconsistent or not supported."""
    if (model := metadata.get("tokenizer.ggml.model")) != "gpt2":
        raise LoadError(f"tokenizer {shown(model)} is not supported in GGUF yet, 'gpt2' (BPE) is")
    pre = metadata.get("tokenizer.ggml.pre", "default")
    if not isinstance(pre, str) or pre not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS)
        raise LoadError(f"pre-tokenizer {shown(pre)} is not supported in GGUF yet, known: {known}")
    definition = _definition(metadata, PRE_TOKENIZERS[pre])
    ends = (_id(metadata, "eos"), _id(metadata, "eot"))
    template = metadata.get("tokenizer.chat_template")
    return ForeignTokenizer(
        file_name="tokenizer.json",
        definition=json.dumps(definition, ensure_ascii=False).encode(),
        bos=_id(metadata, "bos") if metadata.get("tokenizer.ggml.add_bos_token") is True else None,
        unknown=_id(metadata, "unknown"),
        padding=_id(metadata, "padding"),
        ends=tuple(id for id in ends if id is not None),
        template=template if isinstance(template, str) else None,
    )


def _definition(
    metadata: Mapping[str, object], pre_tokenizers: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    tokens, merges = _strings(metadata, "tokens"), _strings(metadata, "merges")
    kinds = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, np.ndarray) or len(kinds) != len(tokens):
        raise LoadError("tokenizer.ggml.token_type is no list of one number for each token")
    vocab = {token: id for id, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise LoadError("tokenizer.ggml.tokens has the same token twice")
    added = np.flatnonzero(np.isin(kinds, (_UNKNOWN, _CONTROL, _USER_DEFINED)))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(id, tokens[id], special=bool(kinds[id] != _USER_DEFINED))
            for id in added.tolist()
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(pre_tokenizers)},
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
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [_merge(merge) for merge in merges],
        },
    }


def _added(id: int, content: str, special: bool) -> dict[str, object]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": content, **plain, "special": special}


def _merge(merge: str) -> list[str]:
    parts = merge.split(" ")  # a token holds no blank: byte-level BPE writes it as Ġ
    if len(parts) != 2:
        raise LoadError(f"the merge {shown(merge)} is not two tokens")
    return parts


def _strings(metadata: Mapping[str, object], name: str) -> list[str]:
    strings = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(strings, StringArray):
        raise LoadError(f"tokenizer.ggml.{name} is no list of strings")
    return list(strings)


def _id(metadata: Mapping[str, object], name: str) -> int | None:
    id = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if id is not None and (isinstance(id, bool) or not isinstance(id, int)):
        raise LoadError(f"tokenizer.ggml.{name}_token_id is {shown(id)}, expected a token id")
    return id
