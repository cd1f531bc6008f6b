"""What the tokenizers of foreign checkpoints become: our tokenizer files, written once.

`gguf_tokenizer.py` and `hf_tokenizer.py` say where the parts are found; here the special tokens
are settled, the chat markers become ids, and the result is tried out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from minillm.errors import LoadError, shown
from minillm.special_tokens import MarkerTexts, RoleMarkers, SpecialTokens, save_special_tokens
from minillm.tokenizer import Tokenizer, load_tokenizer
from minillm.tokenizer_json import open_backend
from minillm.tokenizer_spm import open_model

# Control tokens that end an answer, whatever the file names as its end of text.
END_NAMES = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
)
_MARKUP = re.compile(r"<\|[^|<>]*\|>|<[^<>\s]*>|\[[^\[\]\s]*\]")


@dataclass(frozen=True)
class ForeignTokenizer:
    """A tokenizer file, and what the checkpoint says of its special tokens.

    `ends` are the ends of text, the first of them first; `bos` is None where the tokenizer does
    not add it, though the vocabulary may have one.
    """

    file_name: str
    definition: bytes
    bos: int | None
    unknown: int | None
    padding: int | None
    ends: tuple[int, ...]
    template: str | None


def write_tokenizer(
    foreign: ForeignTokenizer, texts: Mapping[str, MarkerTexts], folder: Path
) -> Tokenizer:
    """Write the tokenizer file and `roles.json` into `folder`; the tokenizer they make.

    Raises `LoadError` where a marker names a token that the vocabulary lacks, or where text could
    give a control token.
    """
    trusted = _trusted(foreign)
    roles = {
        role: RoleMarkers(_encode(trusted, text.open), _encode(trusted, text.close))
        for role, text in texts.items()
    }
    special = _special_tokens(foreign, trusted, roles)
    definition = foreign.definition
    if foreign.file_name == "tokenizer.json":
        definition = _with_control(definition, special)
    (folder / foreign.file_name).write_bytes(definition)
    save_special_tokens(special, texts, folder)
    tokenizer = load_tokenizer(folder)
    for name in trusted.control:
        try:
            tokenizer.encode(f"a {name} b{name}")
        except ValueError as error:
            raise LoadError(f"text can spell the control token {shown(name)}") from error
    return tokenizer


class _Trusted(Protocol):
    """Encodes text whose special tokens are meant; `control` are their names and ids."""

    @property
    def control(self) -> Mapping[str, int]: ...
    def encode(self, text: str) -> list[int]: ...


class _TrustedJson:
    def __init__(self, definition: bytes) -> None:
        self._backend = open_backend(definition)
        added = self._backend.get_added_tokens_decoder()
        self.control = {token.content: id for id, token in added.items()}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids


class _TrustedSentencePiece:
    def __init__(self, definition: bytes) -> None:
        self._model = open_model(definition)
        control = (id for id in range(self._model.get_piece_size()) if self._model.is_control(id))
        self.control = {self._model.id_to_piece(id): id for id in control}

    def encode(self, text: str) -> list[int]:
        # The library has no way to name a control token in a text, so the text is cut at them.
        names = "|".join(map(re.escape, self.control))
        parts = re.split(f"({names})", text) if names else [text]
        pieces = ([self.control[p]] if p in self.control else self._model.encode(p) for p in parts)
        return [id for piece in pieces for id in piece]


def _trusted(foreign: ForeignTokenizer) -> _Trusted:
    if foreign.file_name == "tokenizer.json":
        return _TrustedJson(foreign.definition)
    return _TrustedSentencePiece(foreign.definition)


def _encode(trusted: _Trusted, text: str) -> tuple[int, ...]:
    for name in re.findall(r"<\|[^|<>]*\|>", text):
        if name not in trusted.control:
            raise LoadError(f"a chat marker needs {shown(name)}, which is no special token")
    return tuple(trusted.encode(text))


def _special_tokens(
    foreign: ForeignTokenizer, trusted: _Trusted, roles: Mapping[str, RoleMarkers]
) -> SpecialTokens:
    named = [trusted.control[name] for name in END_NAMES if name in trusted.control]
    control = set(trusted.control.values())
    closing = roles["assistant"].close[:1] if "assistant" in roles else ()
    stop = {*foreign.ends, *named, *control.intersection(closing)}
    candidates = (foreign.unknown, foreign.padding, *foreign.ends, *named)
    placeholder = next((id for id in candidates if id is not None), None)
    if placeholder is None:
        raise LoadError("the tokenizer names no unknown token, padding or end of text")
    return SpecialTokens(foreign.bos, placeholder, frozenset(stop), MappingProxyType(dict(roles)))


def _with_control(definition: bytes, special: SpecialTokens) -> bytes:
    """Declare control tokens as such where the file only calls them added.

    Added tokens that are not `special` are found in any text. For runs of blanks that is meant;
    for a chat marker it would let user text open another role.
    """
    content = json.loads(definition)
    used = special.all_ids()
    for token in content["added_tokens"]:
        markup = _MARKUP.fullmatch(token["content"])
        if markup and (token["id"] in used or token["content"].startswith("<|")):
            token["special"] = True
    return json.dumps(content, ensure_ascii=False).encode()
