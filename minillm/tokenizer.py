"""Text to token ids and back: one protocol over three tokenizers. Does not import torch.

Text of users, schemas and arguments goes through `encode`, which cannot give a control token
however the text spells one; control tokens come from `roles` and `bos_id` only. A text is encoded
as it stands: nothing is put before it, neither BOS nor SentencePiece's dummy blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from minillm.errors import LoadError
from minillm.pieces import PieceTokenizer, StreamDecoder
from minillm.special_tokens import ROLES, RoleMarkers, SpecialTokens, load_special_tokens

MAX_DEFINITION_BYTES = 64 << 20


class Tokenizer(Protocol):
    """What the rest of the runtime knows of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def bos_id(self) -> int | None:
        """The token put at position 0; None when the tokenizer adds none."""

    @property
    def placeholder_id(self) -> int:
        """The token that holds a parameter's place: unknown, else padding, else end of text."""

    @property
    def header_ids(self) -> tuple[int, ...]:
        """The tokens put before each module: beyond the vocabulary, mostly none.

        Their keys and values are not computed, but given by the model (`Transformer.header`)."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""

    @property
    def control_ids(self) -> frozenset[int]:
        """The tokens that `encode` never gives and `decode` skips."""

    @property
    def roles(self) -> Mapping[str, RoleMarkers]:
        """Chat markers of "system", "user" and "assistant"; empty: the model has none."""

    @property
    def fingerprint(self) -> str:
        """A sha256 over all that decides ids."""

    def with_header(self, ids: tuple[int, ...]) -> Tokenizer:
        """The same tokenizer with another header."""

    def encode(self, text: str) -> list[int]:
        """The ids of `text` alone, none of them a control token."""

    def lost(self, text: str) -> str:
        """The characters of `text` that its ids do not hold, each once; mostly there are none.

        A vocabulary may lack a byte (SmolLM2 has none for some control characters), and `encode`
        then leaves the character out; it may know it as unknown only, or as another one (U+2581
        is SentencePiece's blank). Other spellings of the same character (NFC) are no loss.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD."""

    def stream(self) -> StreamDecoder:
        """A decoder for ids that come one at a time."""


class ByteTokenizer(PieceTokenizer):
    """A token is a byte; for tests, and for models trained from nothing.

    Ids 0-255 are bytes; 256 begins a text, 257 ends it, 258 is unknown, 259 and 260 are ChatML's
    `<|im_start|>` and `<|im_end|>`.

    >>> ByteTokenizer().encode("né")
    [110, 195, 169]
    >>> ByteTokenizer().roles["user"].open == (259, *b"user\\n")
    True
    """

    def __init__(self, *, bos: bool = True, roles: bool = True) -> None:
        markers = {role: RoleMarkers((259, *f"{role}\n".encode()), (260, *b"\n")) for role in ROLES}
        special = SpecialTokens(
            bos=256 if bos else None,
            placeholder=258,
            stop=frozenset({257, 260}),
            roles=MappingProxyType(markers if roles else {}),
        )
        super().__init__(special, 261, range(256, 261), b"")

    def _encode(self, text: str) -> list[int]:
        return list(text.encode())

    def _text_bytes(self) -> Mapping[int, bytes]:
        return {byte: bytes([byte]) for byte in range(256)}


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """The tokenizer of a converted checkpoint: `tokenizer.json` or `tokenizer.model`, `roles.json`.

    Raises `LoadError` where one is missing or not understood.
    """
    folder = Path(folder)
    special = load_special_tokens(folder)
    for name, open_definition in (
        ("tokenizer.json", _open_json),
        ("tokenizer.model", _open_sentencepiece),
    ):
        path = folder / name
        if not path.is_file():
            continue
        if path.stat().st_size > MAX_DEFINITION_BYTES:
            raise LoadError(f"{path}: larger than {MAX_DEFINITION_BYTES} bytes")
        try:
            return open_definition(path.read_bytes(), special)
        except (LoadError, OSError) as error:
            raise LoadError(f"{path}: {error}") from error
    raise LoadError(f"{folder}: neither tokenizer.json nor tokenizer.model")


# Each library is imported by those who need it.


def _open_json(definition: bytes, special: SpecialTokens) -> Tokenizer:
    from minillm.tokenizer_json import JsonTokenizer

    return JsonTokenizer(definition, special)


def _open_sentencepiece(definition: bytes, special: SpecialTokens) -> Tokenizer:
    from minillm.tokenizer_spm import SentencePieceTokenizer

    return SentencePieceTokenizer(definition, special)
