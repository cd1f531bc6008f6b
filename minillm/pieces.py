"""What the tokenizers share: every token stands for a fixed string of bytes, its piece.

Decoding is joining pieces, and streaming puts the same bytes through an incremental UTF-8 decoder:
the two agree by construction.
"""

from __future__ import annotations

import codecs
import hashlib
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property, lru_cache
from typing import Self

from minillm.errors import LoadError
from minillm.special_tokens import SpecialTokens

KEPT_CHARACTERS = 4096  # whose fate is remembered: more than any one language writes with


class StreamDecoder:
    """Decodes ids one at a time. All strings given, joined, are `Tokenizer.decode` of all ids."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, id: int) -> str:
        """The text that became complete with this token; empty inside of a character."""
        # Output layers are often padded beyond the vocabulary: such an id stands for nothing.
        return self._utf8.decode(self._pieces[id] if 0 <= id < len(self._pieces) else b"")

    def finish(self) -> str:
        """What a cut-off character at the very end becomes."""
        return self._utf8.decode(b"", final=True)


class PieceTokenizer(ABC):
    """`minillm.tokenizer.Tokenizer`, but for the raw encoding and the pieces."""

    def __init__(
        self,
        special: SpecialTokens,
        vocab_size: int,
        control_ids: Iterable[int],
        definition: bytes,
    ) -> None:
        if too_large := sorted(id for id in special.all_ids() if id >= vocab_size):
            raise LoadError(f"special token {too_large[0]} is beyond the {vocab_size} tokens")
        self.vocab_size = vocab_size
        self.control_ids = frozenset(control_ids)
        first = special.header[0] if special.header else vocab_size
        if first < vocab_size or special.header != tuple(range(first, first + len(special.header))):
            raise LoadError(f"the header is no row of tokens beyond the vocabulary's {vocab_size}")
        self.header_ids = special.header
        self.bos_id = special.bos
        self.placeholder_id = special.placeholder
        self.stop_ids = special.stop
        self.roles = special.roles
        self._keeps = lru_cache(maxsize=KEPT_CHARACTERS)(self._comes_back)
        self.fingerprint = _fingerprint(type(self).__name__.encode(), definition, special)

    def with_header(self, ids: tuple[int, ...]) -> Self:
        other = copy(self)
        other.header_ids = ids
        return other

    @abstractmethod
    def _encode(self, text: str) -> list[int]: ...

    @abstractmethod
    def _text_bytes(self) -> Mapping[int, bytes]:
        """The bytes that each token stands for."""

    @cached_property
    def _pieces(self) -> Sequence[bytes]:
        pieces = [b""] * self.vocab_size
        for id, text in self._text_bytes().items():
            if id not in self.control_ids:
                pieces[id] = text
        return pieces

    def encode(self, text: str) -> list[int]:
        ids = self._encode(text)
        if not self.control_ids.isdisjoint(ids):
            # Not reached with any tokenizer known; a vocabulary made for it must not get further.
            raise ValueError("the tokenizer gave a control token for ordinary text")
        return ids

    def lost(self, text: str) -> str:
        return "".join(c for c in dict.fromkeys(text) if not self._keeps(c))

    def _comes_back(self, character: str) -> bool:
        back = self.decode(self.encode(character))
        return back == character or unicodedata.normalize("NFC", character) == back

    def decode(self, ids: Iterable[int]) -> str:
        decoder = self.stream()
        return "".join([*map(decoder.add, ids), decoder.finish()])

    def stream(self) -> StreamDecoder:
        return StreamDecoder(self._pieces)


def _fingerprint(kind: bytes, definition: bytes, special: SpecialTokens) -> str:
    digest = hashlib.sha256()
    for part in (kind, definition, special.canonical()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
