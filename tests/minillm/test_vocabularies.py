"""Real vocabularies out of GGUF files: golden ids, exact streaming, no character lost unnoticed."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import pytest
import sentencepiece
from golden_vocabularies import cases, from_gguf, llama2_model, smollm2
from hard_texts import hard_texts
from tokenizers import Tokenizer as Backend

from minillm.errors import LoadError
from minillm.foreign.gguf_bpe import PRE_TOKENIZERS
from minillm.foreign.sentencepiece_model import (
    Kind,
    Piece,
    adds_dummy_prefix,
    read_pieces,
    with_pieces,
    write_model,
)
from minillm.special_tokens import SpecialTokens
from minillm.tokenizer import ByteTokenizer, Tokenizer
from minillm.tokenizer_json import byte_level_bytes
from minillm.tokenizer_spm import SentencePieceTokenizer, open_model

SPECIAL = SpecialTokens(bos=1, placeholder=0, stop=frozenset({2}))
TEXTS = 2000


def falcon() -> Tokenizer:
    return from_gguf("falcon")[0]


def mpt() -> Tokenizer:
    return from_gguf("mpt")[0]


def llama2() -> Tokenizer:
    return from_gguf("llama2")[0]


def byte() -> Tokenizer:
    return ByteTokenizer()


EACH = pytest.mark.parametrize("make", [smollm2, falcon, mpt, llama2, byte])


@pytest.mark.parametrize("make", [falcon, mpt])
def test_the_golden_ids_of_byte_level_vocabularies(make: Callable[[], Tokenizer]) -> None:
    found = cases(make.__name__)
    assert len(found) == 47
    for text, ids in found:
        assert make().encode(text) == ids, text


def test_the_golden_ids_of_a_sentencepiece_vocabulary() -> None:
    for text, ids in cases("llama2"):  # which are those of a tokenizer that puts a blank first
        assert llama2().encode(f" {text}" if text else "") == ids, text
        assert llama2().decode(llama2().encode(text)) == text


def test_what_the_files_say_of_special_tokens() -> None:
    assert (falcon().vocab_size, mpt().vocab_size, llama2().vocab_size) == (65024, 50277, 32000)
    assert (falcon().bos_id, mpt().bos_id, llama2().bos_id) == (None, None, 1)
    assert (falcon().stop_ids, mpt().stop_ids, llama2().stop_ids) == ({11}, {0}, {2})
    assert falcon().control_ids == set(range(12))
    assert mpt().control_ids == {0, 1}
    assert llama2().control_ids == {0, 1, 2}


def test_the_rows_that_a_file_names_itself_are_no_tokens() -> None:
    # MPT's file has 50432 rows, and 155 of them are called [PAD50277] and so on.
    assert len(mpt().encode("[PAD50300]")) > 1
    assert mpt().decode([50300]) == ""


def test_mpt_composes_characters_as_its_publisher_does() -> None:
    assert mpt().encode("e\u0301") == mpt().encode("\u00e9")
    assert falcon().encode("e\u0301") != falcon().encode("\u00e9")


def test_sentencepiece_out_of_gguf_is_the_publishers_model() -> None:
    theirs = sentencepiece.SentencePieceProcessor(model_proto=llama2_model())
    own = SentencePieceTokenizer(llama2_model(), SPECIAL)
    for text in hard_texts(TEXTS, seed=2):
        expected = theirs.encode(text)
        with_blank = f" {text}" if text else ""  # theirs puts a blank before a text
        assert llama2().encode(with_blank) == expected, text
        assert own.encode(with_blank) == expected, text
        assert own.encode(text) == llama2().encode(text), text


def test_the_pieces_are_the_publishers() -> None:
    theirs, ours = read_pieces(llama2_model()), read_pieces(from_gguf("llama2")[1])
    assert theirs == ours


@EACH
def test_streaming_is_whole_decoding(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    for text in hard_texts(TEXTS, seed=3):
        ids = tokenizer.encode(text)
        decoder = tokenizer.stream()
        parts = [decoder.add(id) for id in ids]
        assert "".join([*parts, decoder.finish()]) == tokenizer.decode(ids), text


@EACH
def test_what_is_not_lost_comes_back(make: Callable[[], Tokenizer]) -> None:
    tokenizer, lossy = make(), 0
    for text in hard_texts(TEXTS, seed=4):
        back = tokenizer.decode(tokenizer.encode(text))
        if lost := tokenizer.lost(text):
            lossy += 1
            assert set(lost) <= set(text) and len(set(lost)) == len(lost)
            assert back != text
        else:
            assert unicodedata.normalize("NFC", back) == unicodedata.normalize("NFC", text), text
    assert (lossy > 0) == (make in (smollm2, falcon, llama2))


@pytest.mark.parametrize(
    ("make", "text", "lost"),
    [
        (smollm2, "a\x04b\x13c\x04", "\x04\x13"),
        (smollm2, "\U00040000 and \U000f0000", "\U00040000"),
        (smollm2, "e\u0301 \ufb01 \ufffd", ""),
        (mpt, "e\u0301 \u212b", ""),
        (falcon, "\x00\x04\x06▁", "\x04"),
        (llama2, "\x00\x04\U000f0000", ""),
        (llama2, "a▁b", "▁"),
        (byte, "\x00▁\U0010ffff", ""),
    ],
)
def test_lost_characters_are_told(make: Callable[[], Tokenizer], text: str, lost: str) -> None:
    assert make().lost(text) == lost


def test_unknown_characters_are_lost() -> None:
    pieces = [Piece("<unk>", 0, Kind.UNKNOWN), Piece("▁", -1, Kind.NORMAL)]
    pieces += [Piece(letter, -2, Kind.NORMAL) for letter in "abc"]
    definition = write_model(pieces, dummy_prefix=True, remove_extra_blanks=False)
    tokenizer = SentencePieceTokenizer(definition, replace(SPECIAL, bos=None, stop=frozenset()))
    assert tokenizer.encode("a bx") == [2, 1, 3, 0]
    assert tokenizer.lost("a bxéx") == "xé"


def model(*changes: Piece) -> bytes:
    pieces = [Piece("<unk>", 0, Kind.UNKNOWN), Piece("<s>", 0, Kind.CONTROL)]
    pieces += [Piece(text, -n, Kind.NORMAL) for n, text in enumerate(("▁", "a", "b", "ab", "▁a"))]
    return write_model([*pieces, *changes], dummy_prefix=False, remove_extra_blanks=True)


def test_a_model_comes_back_from_its_bytes() -> None:
    pieces = read_pieces(model(Piece("<|user|>", -1.5, Kind.USER_DEFINED)))
    assert pieces[-1] == Piece("<|user|>", -1.5, Kind.USER_DEFINED)
    assert [piece.kind for piece in pieces[:3]] == [Kind.UNKNOWN, Kind.CONTROL, Kind.NORMAL]
    assert not adds_dummy_prefix(model())
    assert adds_dummy_prefix(llama2_model())
    changed = with_pieces(model(), [*read_pieces(model()), Piece("ba", 9.0, Kind.NORMAL)])
    assert open_model(changed).encode("ba") == [7]
    assert open_model(model()).encode("ba") == [4, 3]
    assert with_pieces(llama2_model(), read_pieces(llama2_model())) == llama2_model()


DAMAGED = {
    "cut in a field": model()[:7],
    "cut in a number": model()[:1],
    "cut at the end": model()[:-1],
    "a number without end": b"\xff" * 20,
    "a group": b"\x0b\x00",
    "a piece of kind 9": b"\x0a\x05\x0a\x01a\x18\x09",
    "a piece without text": b"\x0a\x02\x18\x01",
    "no UTF-8": b"\x0a\x03\x0a\x01\xff",
    "half a score": b"\x0a\x04\x15\x00\x00\x00",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_models_are_refused(data: bytes) -> None:
    with pytest.raises(LoadError, match="not a SentencePiece model"):
        read_pieces(data)


@pytest.mark.parametrize("number", [0, 2])
def test_a_model_has_one_unknown_piece(number: int) -> None:
    pieces = [Piece(f"<unk{n}>", 0, Kind.UNKNOWN) for n in range(number)]
    with pytest.raises(LoadError, match=f"has {number} unknown tokens, expected 1"):
        write_model(pieces, dummy_prefix=True, remove_extra_blanks=False)


def words(name: str, text: str) -> list[str]:
    """The words that a pre-tokenizer cuts `text` into, as they read."""
    pre = PRE_TOKENIZERS[name]
    steps = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(pre.steps)}}
    model = {"type": "BPE", "vocab": {}, "merges": []}
    backend = Backend.from_str(json.dumps({"version": "1.0", "model": model, **steps}))
    cut = backend.pre_tokenizer.pre_tokenize_str(text)
    return [byte_level_bytes(word).decode() for word, _ in cut]


@pytest.mark.parametrize(
    ("text", "words_of"),
    [
        # As llama.cpp cuts them, and the publishers' tokenizers do.
        ("12345", {"smollm": "1 2 3 4 5", "falcon": "123 45", "gpt-2": "12345"}),
        ("12345", {"llama-bpe": "123 45"}),
        ("I'LL I'll", {"llama-bpe": "I|'LL| I|'ll", "gpt-2": "I|'|LL| I|'ll"}),
        ("a--b", {"llama-bpe": "a|--|b", "falcon": "a|--|b"}),
        ("a (b)", {"llama-bpe": "a| (|b|)", "falcon": "a| |(|b|)"}),
        ("x\n\n  y", {"llama-bpe": "x|\n\n| | y", "gpt-2": "x|\n\n | y", "mpt": "x|\n\n | y"}),
        ("!?\n\nz", {"llama-bpe": "!?\n\n|z", "gpt-2": "!?|\n|\n|z"}),
    ],
)
def test_pre_tokenizers_cut_as_they_should(text: str, words_of: dict[str, str]) -> None:
    for name, expected in words_of.items():
        assert words(name, text) == expected.split("|" if "|" in expected else " "), name
