"""The tokenizer over `sentencepiece`, for `tokenizer.model`."""

from __future__ import annotations

from collections.abc import Mapping

from sentencepiece import SentencePieceProcessor

from minillm.errors import LoadError
from minillm.pieces import PieceTokenizer
from minillm.special_tokens import SpecialTokens
from minillm.tokenizer_json import metaspace_bytes

# A second `normalizer_spec` (field 3) with nothing but `add_dummy_prefix` (field 3) in it. Protocol
# buffers merge a message that occurs twice, so appending it to the file's bytes overrides this one
# setting, for which the Python binding has no call.
DUMMY_PREFIX = b"\x1a\x02\x18"


class SentencePieceTokenizer(PieceTokenizer):
    """`tokenizer.model` without the blank that SentencePiece puts before a text.

    Control pieces cannot come from text. Nor can the unknown piece where bytes stand in for it,
    so that it is a control token then, fit to be a placeholder that no text can contain.
    """

    def __init__(self, definition: bytes, special: SpecialTokens) -> None:
        self._model = open_model(definition)
        ids = range(self._model.get_piece_size())
        falls_back = any(self._model.is_byte(id) for id in ids)
        control = {id for id in ids if self._model.is_control(id)}
        super().__init__(
            special,
            vocab_size=len(ids),
            control_ids=control | ({self._model.unk_id()} if falls_back else set()),
            definition=definition,
        )

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._model.encode(text)
        return ids

    def _text_bytes(self) -> Mapping[int, bytes]:
        model = self._model
        pieces = {id: metaspace_bytes(model.id_to_piece(id)) for id in range(self.vocab_size)}
        return pieces | {model.unk_id(): "\N{REPLACEMENT CHARACTER}".encode()}


def open_model(definition: bytes, dummy_prefix: bool = False) -> SentencePieceProcessor:
    """The library's processor; `dummy_prefix`: it puts a blank before a text."""
    try:
        return SentencePieceProcessor(model_proto=definition + DUMMY_PREFIX + bytes([dummy_prefix]))
    except Exception as error:  # the library raises nothing narrower
        raise LoadError(f"not a SentencePiece model: {error}") from error
