"""The tokenizer over `tokenizers`, for `tokenizer.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer as Backend

from minillm.errors import LoadError
from minillm.pieces import PieceTokenizer
from minillm.special_tokens import SpecialTokens


class JsonTokenizer(PieceTokenizer):
    """`tokenizer.json`, with special tokens spelled out in the text read as ordinary text."""

    def __init__(self, definition: bytes, special: SpecialTokens) -> None:
        self._backend = open_backend(definition)
        self._backend.encode_special_tokens = True
        self._to_bytes = _bytes_of_token(self._backend)
        added = self._backend.get_added_tokens_decoder()
        self._added = {id: token.content.encode() for id, token in added.items()}
        super().__init__(
            special,
            vocab_size=1 + max(self._backend.get_vocab().values(), default=-1),
            control_ids=(id for id, token in added.items() if token.special),
            definition=definition,
        )

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def _text_bytes(self) -> Mapping[int, bytes]:
        vocab = self._backend.get_vocab()
        return {id: self._to_bytes(token) for token, id in vocab.items()} | self._added


def open_backend(definition: bytes) -> Backend:
    """The library's own tokenizer, which parses special tokens: for trusted text only."""
    try:
        backend = Backend.from_buffer(definition)
    except Exception as error:  # the library raises nothing narrower
        raise LoadError(f"not a tokenizer.json: {error}") from error
    backend.no_truncation()
    backend.no_padding()
    return backend


def _bytes_of_token(backend: Backend) -> Callable[[str], bytes]:
    """How this vocabulary writes bytes, told from the decoder that the file names."""
    state = json.loads(backend.decoder.__getstate__()) if backend.decoder else None
    kinds = set(_kinds(state))
    if "ByteLevel" in kinds:
        return byte_level_bytes
    if kinds & {"ByteFallback", "Metaspace"}:
        return metaspace_bytes
    raise LoadError(
        f"decoder {', '.join(sorted(kinds))} is not supported, expected ByteLevel or ByteFallback"
    )


def _kinds(decoder: Mapping[str, Any] | None) -> Iterator[str]:
    """The types of a decoder and those that it is a sequence of."""
    yield str(decoder and decoder["type"])
    for child in (decoder or {}).get("decoders", ()):
        yield from _kinds(child)


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins: a byte that prints is itself, the others are U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


BYTE_LEVEL_ALPHABET = _byte_level_alphabet()
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_level_bytes(token: str) -> bytes:
    """
    >>> byte_level_bytes("Ġcaf\u00c3\u00a9").decode()
    ' café'
    """
    try:
        return bytes([BYTE_LEVEL_ALPHABET[character] for character in token])
    except KeyError:  # an added token, which is spelled as it reads
        return token.encode()


def metaspace_bytes(piece: str) -> bytes:
    """
    >>> metaspace_bytes("▁the"), metaspace_bytes("<0x0A>")
    (b' the', b'\\n')
    """
    byte = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
