"""The tokenizer of a Hugging Face folder: its own file, and the fields that name special tokens.

tokenizer.json, or tokenizer.model with added_tokens.json   the vocabulary
tokenizer_config.json, else special_tokens_map.json         which tokens are bos, eos, unk, pad
generation_config.json, config.json                         which tokens end an answer
chat_template.jinja, else tokenizer_config.json             how a chat is written
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minillm.errors import LoadError, shown
from minillm.foreign.hf_vocabulary import Added, Vocabulary, open_json, open_sentencepiece
from minillm.foreign.tokenizer import ForeignTokenizer
from minillm.json_file import read_json

MAX_CONFIG_BYTES = 8 << 20  # tokenizer_config.json may list every added token
MAX_TEMPLATE_BYTES = 256 << 10
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def tokenizer_of_folder(folder: Path) -> ForeignTokenizer:
    """Raises `LoadError` for what is missing or not supported."""
    config = _object(folder / "tokenizer_config.json")
    vocabulary = _vocabulary(folder, config)
    names = _names(config, _object(folder / "special_tokens_map.json"))
    ids = {field: vocabulary.find(names[field]) for field in names}
    adds_bos = config.get("add_bos_token")
    if not isinstance(adds_bos, bool):  # then the tokenizer's own habit decides
        adds_bos = ids.get("bos_token") == vocabulary.first
    ends = [*_ends(folder / "generation_config.json"), *_ends(folder / "config.json")]
    if (end := ids.get("eos_token")) is not None:
        ends.append(end)
    return ForeignTokenizer(
        file_name=vocabulary.file_name,
        definition=vocabulary.definition,
        bos=ids.get("bos_token"),
        adds_bos=adds_bos,
        unknown=ids.get("unk_token"),
        padding=ids.get("pad_token"),
        ends=tuple(ends),
        prefix_blank=vocabulary.prefix_blank,
        template=_template(folder, config),
        template_names=names,
    )


def _vocabulary(folder: Path, config: Mapping[str, Any]) -> Vocabulary:
    added = _added(config.get("added_tokens_decoder"))
    if (folder / "tokenizer.json").is_file():
        return open_json(folder / "tokenizer.json", added)
    if (folder / "tokenizer.model").is_file():
        for name, id in _object(folder / "added_tokens.json").items():
            added.setdefault(_id(id, f"added token {shown(name)}"), Added(str(name), special=False))
        return open_sentencepiece(folder / "tokenizer.model", added)
    raise LoadError(f"{folder}: neither tokenizer.json nor tokenizer.model")


def _added(content: object) -> dict[int, Added]:
    """`added_tokens_decoder`: tokens that were added to the vocabulary, by their id."""
    if not isinstance(content, dict):
        return {}
    found = {}
    for id, token in content.items():
        if not (isinstance(token, dict) and isinstance(token.get("content"), str) and id.isdigit()):
            raise LoadError(f"added_tokens_decoder: {shown(id)} is {shown(token)}, not a token")
        found[int(id)] = Added(token["content"], token.get("special") is True)
    return found


def _names(*sources: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by their field, out of the first file that has it."""
    found = {}
    for field in NAMED:
        tokens = (source.get(field) for source in sources)
        texts = (token.get("content") if isinstance(token, dict) else token for token in tokens)
        name = next((text for text in texts if isinstance(text, str)), None)
        if name is not None:
            found[field] = name
    return found


def _object(path: Path) -> Mapping[str, Any]:
    content = read_json(path, MAX_CONFIG_BYTES) if path.is_file() else {}
    if not isinstance(content, dict):
        raise LoadError(f"{path}: not an object")
    return content


def _id(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise LoadError(f"{what} has the id {shown(value)}, expected a whole number")
    return value


def _ends(path: Path) -> list[int]:
    ids = _object(path).get("eos_token_id")
    listed = ids if isinstance(ids, list) else [ids]
    none = (None, -1)  # -1 in old configurations
    return [_id(id, f"{path}: the end of text") for id in listed if id not in none]


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
