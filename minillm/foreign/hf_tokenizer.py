"""The tokenizer of a Hugging Face folder: its own file, and the fields that name special tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minillm.errors import LoadError
from minillm.foreign.tokenizer import ForeignTokenizer
from minillm.json_file import read_json
from minillm.tokenizer import MAX_DEFINITION_BYTES
from minillm.tokenizer_json import open_backend
from minillm.tokenizer_spm import open_model

MAX_CONFIG_BYTES = 8 << 20  # tokenizer_config.json may list every added token
MAX_TEMPLATE_BYTES = 256 << 10


def tokenizer_of_folder(folder: Path) -> ForeignTokenizer:
    """Raises `LoadError` for what is missing or not supported."""
    if (folder / "tokenizer.json").is_file():
        name, definition = "tokenizer.json", _without_prefix_blank(folder / "tokenizer.json")
        find, first = _json_vocabulary(definition)
    elif (folder / "tokenizer.model").is_file():
        name, definition = "tokenizer.model", (folder / "tokenizer.model").read_bytes()
        find, first = _sentencepiece_vocabulary(definition)
    else:
        raise LoadError(f"{folder}: neither tokenizer.json nor tokenizer.model")
    config = _object(folder / "tokenizer_config.json")

    def named(field: str) -> int | None:
        token = config.get(field)
        token = token.get("content") if isinstance(token, dict) else token
        return find(token) if isinstance(token, str) else None

    bos, adds_bos = named("bos_token"), config.get("add_bos_token")
    if not isinstance(adds_bos, bool):  # then the tokenizer's own habit decides
        adds_bos = bos == first
    ends = [*_ends(folder / "generation_config.json"), *_ends(folder / "config.json")]
    if (end := named("eos_token")) is not None:
        ends.append(end)
    return ForeignTokenizer(
        file_name=name,
        definition=definition,
        bos=bos if adds_bos else None,
        unknown=named("unk_token"),
        padding=named("pad_token"),
        ends=tuple(ends),
        template=_template(folder, config),
    )


Find = Callable[[str], int | None]


def _json_vocabulary(definition: bytes) -> tuple[Find, int | None]:
    """How to find a token's id, and the id that the tokenizer puts first."""
    backend = open_backend(definition)
    plain = backend.encode("a", add_special_tokens=False).ids
    ids = backend.encode("a").ids
    return backend.token_to_id, ids[0] if ids[:1] != plain[:1] else None


def _sentencepiece_vocabulary(definition: bytes) -> tuple[Find, int | None]:
    model = open_model(definition)
    ids = {model.id_to_piece(id): id for id in range(model.get_piece_size())}
    # The classes that read such a file put its BOS first unless they are told not to.
    return ids.get, model.bos_id()


def _without_prefix_blank(path: Path) -> bytes:
    """The definition without the steps that put a blank before a text.

    They mark the first word of a whole document; our texts are parts of one.
    """
    content = read_json(path, MAX_DEFINITION_BYTES)
    if not isinstance(content, dict):
        raise LoadError(f"{path}: not a tokenizer.json")
    content["normalizer"] = _without_prepend(content.get("normalizer"))
    for step in _steps(content.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "Metaspace":
            step.pop("add_prefix_space", None)
            step["prepend_scheme"] = "never"
        elif step.get("type") == "ByteLevel":
            step["add_prefix_space"] = False
    return json.dumps(content, ensure_ascii=False).encode()


def _without_prepend(normalizer: Any) -> Any:
    kept = [s for s in _steps(normalizer, "normalizers") if s.get("type") != "Prepend"]
    if not kept:
        return None
    return {"type": "Sequence", "normalizers": kept}


def _steps(step: Any, children: str) -> list[dict[str, Any]]:
    """One step, or those of a sequence, flat."""
    if not isinstance(step, dict):
        return []
    if step.get("type") != "Sequence":
        return [step]
    return [leaf for child in step.get(children, ()) for leaf in _steps(child, children)]


def _object(path: Path) -> Mapping[str, Any]:
    content = read_json(path, MAX_CONFIG_BYTES) if path.is_file() else {}
    if not isinstance(content, dict):
        raise LoadError(f"{path}: not an object")
    return content


def _ends(path: Path) -> list[int]:
    ids = _object(path).get("eos_token_id")
    candidates = ids if isinstance(ids, list) else [ids]
    return [id for id in candidates if isinstance(id, int) and not isinstance(id, bool) and id >= 0]


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        if path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise LoadError(f"{path}: larger than {MAX_TEMPLATE_BYTES} bytes")
        return path.read_text(encoding="utf-8", errors="replace")
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None
