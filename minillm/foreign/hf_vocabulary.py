"""The vocabulary files of a Hugging Face folder, with the tokens added to them.

Whatever puts a blank before a text is taken out: it marks the first word of a whole document, and
our texts are parts of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minillm.errors import LoadError, shown
from minillm.foreign.sentencepiece_model import (
    Kind,
    Piece,
    adds_dummy_prefix,
    read_pieces,
    with_pieces,
)
from minillm.json_file import read_json
from minillm.tokenizer import MAX_DEFINITION_BYTES
from minillm.tokenizer_json import open_backend
from minillm.tokenizer_spm import open_model


@dataclass(frozen=True)
class Added:
    """A token that was added to a finished vocabulary."""

    content: str
    special: bool


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer file: how to find a token's id in it, and the id that it puts first."""

    file_name: str
    definition: bytes
    find: Callable[[str], int | None]
    first: int | None
    prefix_blank: bool


def open_json(path: Path, added: Mapping[int, Added]) -> Vocabulary:
    """`tokenizer.json`; raises `LoadError`."""
    content = read_json(path, MAX_DEFINITION_BYTES)
    if not isinstance(content, dict):
        raise LoadError(f"{path}: not a tokenizer.json")
    prefix_blank = _drop_prefix_blank(content)
    _add_tokens(content, added)
    definition = json.dumps(content, ensure_ascii=False).encode()
    backend = open_backend(definition)
    for id, token in added.items():
        if backend.token_to_id(token.content) != id:
            found = f"{backend.token_to_id(token.content)} in tokenizer.json"
            raise LoadError(f"{path}: added token {shown(token.content)} is {id}, but {found}")
    plain = backend.encode("a", add_special_tokens=False).ids
    ids = backend.encode("a").ids
    first = ids[0] if ids[:1] != plain[:1] else None
    return Vocabulary("tokenizer.json", definition, backend.token_to_id, first, prefix_blank)


def open_sentencepiece(path: Path, added: Mapping[int, Added]) -> Vocabulary:
    """`tokenizer.model`; raises `LoadError`."""
    if path.stat().st_size > MAX_DEFINITION_BYTES:
        raise LoadError(f"{path}: larger than {MAX_DEFINITION_BYTES} bytes")
    definition = path.read_bytes()
    model = open_model(definition)
    pieces = read_pieces(definition)
    prefix_blank = adds_dummy_prefix(definition)
    for id, token in sorted(added.items()):
        if id < len(pieces):  # the vocabulary itself knows it, and better
            continue
        if id > len(pieces):
            raise LoadError(f"{path}: added token {shown(token.content)} leaves out {len(pieces)}")
        kind = Kind.CONTROL if token.special else Kind.USER_DEFINED
        pieces.append(Piece(token.content.replace(" ", "▁"), 0.0, kind))
    if len(pieces) > model.get_piece_size():
        definition = with_pieces(definition, pieces)
    ids = {piece.text: id for id, piece in enumerate(pieces)}
    # The classes that read such a file put its BOS first unless they are told not to.
    return Vocabulary("tokenizer.model", definition, ids.get, model.bos_id(), prefix_blank)


def _add_tokens(content: dict[str, Any], added: Mapping[int, Added]) -> None:
    """Tokens that only tokenizer_config.json names, as the library would add them."""
    tokens = content.setdefault("added_tokens", [])
    known = {token["id"] for token in tokens}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    for id, token in sorted(added.items()):
        if id not in known:
            tokens.append({"id": id, "content": token.content, **plain, "special": token.special})


def _drop_prefix_blank(content: dict[str, Any]) -> bool:
    """Take out the steps that put a blank first; whether it stood after special tokens too."""
    normalizers = _steps(content.get("normalizer"), "normalizers")
    kept = [step for step in normalizers if step.get("type") != "Prepend"]
    content["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    found = len(kept) < len(normalizers)
    for step in _steps(content.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "Metaspace":
            before = step.pop("add_prefix_space", True)
            found |= bool(before) and step.get("prepend_scheme", "always") == "always"
            step["prepend_scheme"] = "never"
        elif step.get("type") == "ByteLevel":
            found |= bool(step.get("add_prefix_space"))
            step["add_prefix_space"] = False
    return found


def _steps(step: Any, children: str) -> list[dict[str, Any]]:
    """One step, or those of a sequence, flat."""
    if not isinstance(step, dict):
        return []
    if step.get("type") != "Sequence":
        return [step]
    return [leaf for child in step.get(children, ()) for leaf in _steps(child, children)]
