"""SentencePiece's model files, read and written: a list of pieces, and a few settings.

The file is one protocol buffer (`sentencepiece_model.proto`), of which these fields matter:

    1 pieces (repeated)      1 text · 2 score (float) · 3 kind
    2 trainer                3 model type · 35 byte fallback · 40 41 42 43 ids of unk, bos, eos, pad
    3 normalizer             1 name · 3 add dummy prefix · 4 remove extra blanks · 5 escape blanks

A buffer is a row of fields; a field is a varint of its number and wire type, then a varint
(type 0), 8 bytes (1), a length and as many bytes (2), or 4 bytes (5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from minillm.errors import LoadError

PIECES, TRAINER, NORMALIZER = 1, 2, 3
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
BPE = 2


class Kind(IntEnum):
    """What a piece is; GGUF counts its kinds of tokens in the same way."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary, its blanks written as U+2581; its id is its place in the list."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class _Field:
    """`content` is what follows the number, a length excepted."""

    number: int
    wire: int
    content: bytes

    def __bytes__(self) -> bytes:
        length = _varint(len(self.content)) if self.wire == BYTES else b""
        return _varint(self.number << 3 | self.wire) + length + self.content


def read_pieces(definition: bytes) -> list[Piece]:
    """The vocabulary of a model file; raises `LoadError`."""
    return [_piece(field.content) for field in _fields(definition) if field.number == PIECES]


def with_pieces(definition: bytes, pieces: Iterable[Piece]) -> bytes:
    """The same model with another vocabulary."""
    others = (field for field in _fields(definition) if field.number != PIECES)
    return b"".join(map(bytes, [*map(_piece_field, pieces), *others]))


def adds_dummy_prefix(definition: bytes) -> bool:
    """Whether the model puts a blank before a text, as it does unless told not to."""
    settings = [field for field in _fields(definition) if field.number == NORMALIZER]
    values = [f.content for part in settings for f in _fields(part.content) if f.number == 3]
    return not values or values[-1] != _varint(0)


def write_model(pieces: Sequence[Piece], *, dummy_prefix: bool, remove_extra_blanks: bool) -> bytes:
    """A byte-pair model over `pieces`; of a text's spelling it changes nothing but its blanks.

    Raises `LoadError` where there is not one unknown piece.
    """
    unknown = [id for id, piece in enumerate(pieces) if piece.kind is Kind.UNKNOWN]
    if len(unknown) != 1:
        raise LoadError(f"the vocabulary has {len(unknown)} unknown tokens, expected 1")
    # -1: there is no such piece. The library needs to know none of them, and would check their
    # names against its own.
    ids = {40: unknown[0], **dict.fromkeys((41, 42, 43), -1)}
    falls_back = any(piece.kind is Kind.BYTE for piece in pieces)
    trainer = {3: BPE, 35: int(falls_back), **ids}
    normalizer = {3: int(dummy_prefix), 4: int(remove_extra_blanks), 5: 1}
    parts = [
        *map(_piece_field, pieces),
        _message(TRAINER, _text(45, pieces[unknown[0]].text), *_numbers(trainer)),
        _message(NORMALIZER, _text(1, "identity"), *_numbers(normalizer)),
    ]
    return b"".join(map(bytes, parts))


def _piece(content: bytes) -> Piece:
    fields = {field.number: field.content for field in _fields(content)}
    try:
        (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
        kind, _ = _read_varint(fields.get(3, _varint(Kind.NORMAL)), 0)
        return Piece(fields[1].decode(), score, Kind(kind))
    except (KeyError, ValueError, struct.error) as error:
        raise LoadError(f"not a SentencePiece model: a piece of {content[:40]!r}") from error


def _piece_field(piece: Piece) -> _Field:
    score = _Field(2, FOUR, struct.pack("<f", piece.score))
    kind = {} if piece.kind is Kind.NORMAL else {3: int(piece.kind)}
    return _message(PIECES, _text(1, piece.text), score, *_numbers(kind))


def _message(number: int, *fields: _Field) -> _Field:
    return _Field(number, BYTES, b"".join(map(bytes, fields)))


def _text(number: int, text: str) -> _Field:
    return _Field(number, BYTES, text.encode())


def _numbers(values: dict[int, int]) -> Iterator[_Field]:
    return (_Field(number, VARINT, _varint(value)) for number, value in values.items())


def _varint(value: int) -> bytes:
    value %= 1 << 64  # negative numbers as the format has them
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise LoadError("not a SentencePiece model: it is cut off, or a number has no end")


def _fields(data: bytes) -> Iterator[_Field]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        start = at
        if tag & 7 == VARINT:
            _, at = _read_varint(data, at)
        elif tag & 7 == BYTES:
            size, start = _read_varint(data, at)
            at = start + size
        elif tag & 7 in (EIGHT, FOUR):
            at += 8 if tag & 7 == EIGHT else 4
        else:
            raise LoadError(f"not a SentencePiece model: a field of wire type {tag & 7}")
        if at > len(data):
            raise LoadError("not a SentencePiece model: it is cut off")
        yield _Field(tag >> 3, tag & 7, data[start:at])
