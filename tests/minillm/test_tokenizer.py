"""Tokenizers: golden ids, no control token from any text, streaming that equals whole decoding."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from minillm.errors import LoadError
from minillm.special_tokens import (
    MarkerTexts,
    RoleMarkers,
    SpecialTokens,
    add_header,
    load_special_tokens,
    save_special_tokens,
)
from minillm.tokenizer import ByteTokenizer, Tokenizer, load_tokenizer
from minillm.tokenizer_json import JsonTokenizer, open_backend
from minillm.tokenizer_spm import SentencePieceTokenizer

GOLDEN = Path(__file__).parent.parent / "golden" / "tokenizers"
MODEL = Path(__file__).parent.parent.parent / "weights" / "smollm2-135m-instruct"
SPECIAL = SpecialTokens(bos=None, placeholder=0, stop=frozenset({2}))
CONTROL_NAMES = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<unk>", "<0x0A>")


@cache
def smollm2() -> Tokenizer:
    return load_tokenizer(GOLDEN / "smollm2")


@cache
def golden_cases() -> list[tuple[str, list[int]]]:
    strings = json.loads((GOLDEN / "smollm2_test_strings.json").read_text(encoding="utf-8"))
    ids = json.loads((GOLDEN / "smollm2_llamacpp_ids.json").read_text(encoding="utf-8"))
    return list(zip(strings, ids, strict=True))


@cache
def sentencepiece_definition(byte_fallback: bool = True) -> bytes:
    """A model of 300 pieces, trained on this file."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(Path(__file__).read_text(encoding="utf-8").splitlines()),
        model_writer=model,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=byte_fallback,
        control_symbols=["<|im_start|>", "<|im_end|>"],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


@cache
def spm() -> Tokenizer:
    return SentencePieceTokenizer(sentencepiece_definition(), SPECIAL)


def byte() -> Tokenizer:
    return ByteTokenizer()


TOKENIZERS = pytest.mark.parametrize("make", [smollm2, spm, byte])


def test_all_golden_strings_give_the_ids_of_llama_cpp() -> None:
    # Those ids were made with special tokens parsed: that is the trusted instance. Where no
    # special token is spelled out, the one for user text must agree.
    definition = (GOLDEN / "smollm2" / "tokenizer.json").read_bytes()
    trusted, ours = open_backend(definition), smollm2()
    plain = 0
    for text, ids in golden_cases():
        assert trusted.encode(text, add_special_tokens=False).ids == ids
        if ours.control_ids.isdisjoint(ids):
            assert ours.encode(text) == ids
            plain += 1
    assert (len(golden_cases()), plain) == (994, 817)


def test_golden_strings_come_back_from_their_ids() -> None:
    tokenizer = smollm2()
    for text, _ in golden_cases():
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_smollm2_is_what_its_file_says() -> None:
    tokenizer = smollm2()
    assert tokenizer.vocab_size == 49152
    assert tokenizer.bos_id is None
    assert tokenizer.placeholder_id == 0
    assert tokenizer.stop_ids == {0, 2}
    assert tokenizer.control_ids == set(range(17))
    assert tokenizer.roles == {
        "system": RoleMarkers((1, 9690, 198), (2, 198)),
        "user": RoleMarkers((1, 4093, 198), (2, 198)),
        "assistant": RoleMarkers((1, 520, 9531, 198), (2, 198)),
    }


@pytest.mark.model
def test_the_golden_tokenizer_is_the_converted_one() -> None:
    for name in ("tokenizer.json", "roles.json"):
        assert (MODEL / name).read_bytes() == (GOLDEN / "smollm2" / name).read_bytes()


def hard_text(rng: random.Random, names: list[str], pieces: list[str]) -> str:
    """Control tokens spelled whole, cut and run together, with pieces of the vocabulary between."""
    parts = []
    for _ in range(rng.randint(1, 8)):
        name = rng.choice(names)
        cut = rng.randint(0, len(name))
        parts.append(rng.choice([name, name[:cut], name[cut:], name + name, rng.choice(pieces)]))
    return rng.choice(["", " ", "\n"]).join(parts)


@pytest.mark.fuzz
@pytest.mark.parametrize("count", [5000, pytest.param(2_000_000, marks=pytest.mark.soak)])
@TOKENIZERS
def test_no_text_gives_a_control_token(make: Callable[[], Tokenizer], count: int) -> None:
    tokenizer, rng = make(), random.Random(17)
    definition = json.loads((GOLDEN / "smollm2" / "tokenizer.json").read_bytes())
    names = [token["content"] for token in definition["added_tokens"]] + list(CONTROL_NAMES)
    ordinary = [id for id in range(tokenizer.vocab_size) if id not in tokenizer.control_ids]
    pieces = [tokenizer.decode([id]) for id in rng.sample(ordinary, min(len(ordinary), 500))]
    spelled = 0
    for _ in range(count):
        text = hard_text(rng, names, pieces)
        ids = tokenizer.encode(text)
        assert tokenizer.control_ids.isdisjoint(ids), text
        assert tokenizer.decode(ids) == text
        spelled += any(name in text for name in names)
    assert spelled > 0.6 * count  # the texts do spell them


def test_the_trusted_instance_would_parse_what_the_other_does_not() -> None:
    trusted = open_backend((GOLDEN / "smollm2" / "tokenizer.json").read_bytes())
    assert trusted.encode("<|im_start|>user").ids == [1, 4093]
    assert 1 not in smollm2().encode("<|im_start|>user")
    assert smollm2().decode([1, 4093, 2]) == "user"


def test_a_tokenizer_that_gives_a_control_token_is_stopped() -> None:
    # A vocabulary whose ordinary word is declared a control token by its id.
    class Broken(ByteTokenizer):
        def _encode(self, text: str) -> list[int]:
            return [257]

    with pytest.raises(ValueError, match="control token"):
        Broken().encode("anything")


@TOKENIZERS
@given(data=st.data())
def test_streaming_is_whole_decoding_of_any_ids(
    make: Callable[[], Tokenizer], data: st.DataObject
) -> None:
    # Any ids: cut characters, control tokens, and what a padded output layer may give.
    tokenizer = make()
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 9), max_size=30))
    decoder = tokenizer.stream()
    parts = [decoder.add(id) for id in ids]
    assert "".join([*parts, decoder.finish()]) == tokenizer.decode(ids)
    assert tokenizer.decode([id for id in ids if id not in tokenizer.control_ids]) == (
        tokenizer.decode(ids)
    )


# SentencePiece writes a blank as U+2581. SmolLM2's vocabulary lacks some bytes, which it drops from
# a text: six control characters, and F1 and F2, with which unassigned characters begin.
ENCODABLE = st.characters(
    codec="utf-8", exclude_characters="\u2581\x04\x06\x13\x14\x16\x1d", max_codepoint=0x3FFFF
)


@TOKENIZERS
@given(text=st.text(ENCODABLE, max_size=60))
def test_any_text_comes_back_and_streams_without_broken_characters(
    make: Callable[[], Tokenizer], text: str
) -> None:
    tokenizer = make()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    decoder, so_far = tokenizer.stream(), ""
    for id in ids:
        so_far += decoder.add(id)
        assert text.startswith(so_far)
    assert decoder.finish() == ""


def test_a_character_comes_when_its_last_byte_does() -> None:
    decoder = ByteTokenizer().stream()
    assert [decoder.add(id) for id in "a😁b".encode()] == ["a", "", "", "", "😁", "b"]
    assert [decoder.add(id) for id in b"\xf0\x9f"] == ["", ""]
    assert decoder.finish() == "\N{REPLACEMENT CHARACTER}"


def test_decoding_agrees_with_the_library() -> None:
    backend = open_backend((GOLDEN / "smollm2" / "tokenizer.json").read_bytes())
    rng = random.Random(3)
    for _ in range(200):
        ids = rng.choices(range(49152), k=20)
        assert smollm2().decode(ids) == backend.decode(ids)


def test_sentencepiece_puts_no_blank_first() -> None:
    with_dummy = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_definition())
    tokenizer = spm()
    for text in ("def test", "the token ids", "x"):
        assert tokenizer.encode(" " + text) == with_dummy.encode(text)
        assert tokenizer.encode(text) != with_dummy.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_sentencepiece_keeps_the_unknown_token_from_text_if_bytes_stand_in() -> None:
    assert spm().control_ids == {0, 1, 2, 3, 4}
    assert spm().decode(spm().encode("漢😁")) == "漢😁"
    without = SentencePieceTokenizer(sentencepiece_definition(byte_fallback=False), SPECIAL)
    assert 0 not in without.control_ids
    assert without.decode(without.encode("\u6f21")) == "\N{REPLACEMENT CHARACTER}"


def test_the_byte_tokenizer_can_do_without_bos_and_roles() -> None:
    assert ByteTokenizer().bos_id == 256
    bare = ByteTokenizer(bos=False, roles=False)
    assert (bare.bos_id, bare.roles) == (None, {})
    assert bare.fingerprint != ByteTokenizer().fingerprint


@pytest.mark.parametrize("header", [(5, 6), (3000, 3002), (3000, 3000), (3001, 3000)])
def test_a_header_is_a_row_of_tokens_beyond_the_vocabulary(header: tuple[int, ...]) -> None:
    with pytest.raises(LoadError, match="the header is no row of tokens beyond"):
        SentencePieceTokenizer(sentencepiece_definition(), replace(SPECIAL, header=header))


def test_a_header_is_no_text() -> None:
    tokenizer = ByteTokenizer().with_header((261, 262))
    assert tokenizer.decode([104, 261, 262, 105]) == "hi"
    assert ByteTokenizer().header_ids == ()


def test_the_fingerprint_tells_apart_all_that_decides_ids() -> None:
    definition = sentencepiece_definition()
    roles = MappingProxyType({"user": RoleMarkers((1,), (2,))})
    variants = [
        SentencePieceTokenizer(definition, SPECIAL),
        SentencePieceTokenizer(definition, replace(SPECIAL, bos=1)),
        SentencePieceTokenizer(definition, replace(SPECIAL, placeholder=1)),
        SentencePieceTokenizer(definition, replace(SPECIAL, roles=roles)),
        SentencePieceTokenizer(sentencepiece_definition(byte_fallback=False), SPECIAL),
    ]
    assert len({tokenizer.fingerprint for tokenizer in variants}) == len(variants)
    again = SentencePieceTokenizer(definition, SPECIAL)
    assert again.fingerprint == variants[0].fingerprint


def test_loading_and_using_a_tokenizer_does_not_import_torch() -> None:
    code = (
        "import sys; from minillm.tokenizer import load_tokenizer; "
        f"load_tokenizer({str(GOLDEN / 'smollm2')!r}).encode('x'); "
        "assert not {'torch', 'sentencepiece', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def byte_vocabulary(decoder: decoders.Decoder | None) -> bytes:
    backend = Backend(models.BPE(vocab={"a": 0, "b": 1, "<x>": 2}, merges=[]))
    if decoder is not None:
        backend.decoder = decoder
    return backend.to_str().encode()


def test_pieces_of_vocabularies_with_byte_fallback() -> None:
    backend = Backend(models.BPE(vocab={"a": 0, "▁b": 1, "<0xC3>": 2, "<0xA9>": 3}, merges=[]))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    tokenizer = JsonTokenizer(backend.to_str().encode(), replace(SPECIAL, stop=frozenset()))
    assert tokenizer.decode([0, 1, 2, 3]) == "a bé"


WRONG_TOKENIZERS: dict[str, tuple[Mapping[str, bytes], str]] = {
    "nothing": ({}, "roles.json"),
    "no tokenizer": ({"roles.json": b""}, "neither tokenizer.json nor tokenizer.model"),
    "no JSON": ({"tokenizer.json": b"{"}, "tokenizer.json: not a tokenizer.json"),
    "other JSON": ({"tokenizer.json": b'{"a": 1}'}, "tokenizer.json: not a tokenizer.json"),
    "no SentencePiece": (
        {"tokenizer.model": b"\x00garbage"},
        "tokenizer.model: not a SentencePiece model",
    ),
    "a decoder of another kind": (
        {"tokenizer.json": byte_vocabulary(decoders.WordPiece())},
        "decoder WordPiece is not supported",
    ),
    "no decoder": ({"tokenizer.json": byte_vocabulary(None)}, "decoder None is not supported"),
    "a vocabulary smaller than its special tokens": (
        {"tokenizer.json": byte_vocabulary(decoders.ByteLevel())},
        "special token 5 is beyond the 3 tokens",
    ),
}


@pytest.mark.parametrize(
    ("files", "message"), WRONG_TOKENIZERS.values(), ids=WRONG_TOKENIZERS.keys()
)
def test_wrong_tokenizers_are_refused_in_one_line(
    tmp_path: Path, files: Mapping[str, bytes], message: str
) -> None:
    if files:
        save_special_tokens(SpecialTokens(None, 0, frozenset({5})), {}, tmp_path)
    for name, data in files.items():
        if name != "roles.json":
            (tmp_path / name).write_bytes(data)
    with pytest.raises(LoadError) as caught:
        load_tokenizer(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_special_tokens_come_back_from_their_file(tmp_path: Path) -> None:
    roles = {"user": RoleMarkers((1, 7), (2,)), "assistant": RoleMarkers((), ())}
    special = SpecialTokens(1, 0, frozenset({2, 3}), MappingProxyType(roles), (7, 8))
    texts = {"user": MarkerTexts("<u>\n", "</u>"), "assistant": MarkerTexts("", "")}
    save_special_tokens(special, texts, tmp_path)
    assert load_special_tokens(tmp_path) == special
    add_header((9, 10), tmp_path)
    assert load_special_tokens(tmp_path) == replace(special, header=(9, 10))
    content = json.loads((tmp_path / "roles.json").read_text(encoding="utf-8"))
    assert content["roles"]["user"] == {
        "open": [1, 7],
        "open_text": "<u>\n",
        "close": [2],
        "close_text": "</u>",
    }


GOOD_ROLES: dict[str, object] = {
    "format": 1,
    "bos": None,
    "placeholder": 0,
    "stop": [2],
    "roles": {},
}
WRONG_ROLES: dict[str, tuple[object, str]] = {
    "a list": ([], "the file is [], expected an object"),
    "another format": (GOOD_ROLES | {"format": 2}, "format is 2, expected 1"),
    "a missing key": ({"format": 1}, "the file lacks 'bos'"),
    "an unknown key": (GOOD_ROLES | {"template": "{{"}, "the unknown key 'template'"),
    "an unknown role": (GOOD_ROLES | {"roles": {"tool": {}}}, "roles has the unknown key 'tool'"),
    "half a role": (GOOD_ROLES | {"roles": {"user": {"open": []}}}, "role 'user' lacks 'close'"),
    "true for an id": (GOOD_ROLES | {"placeholder": True}, "True is no token id"),
    "a text for an id": (GOOD_ROLES | {"bos": "<s>"}, "'<s>' is no token id"),
    "a negative id": (GOOD_ROLES | {"stop": [-1]}, "-1 is no token id"),
    "a number for a list": (GOOD_ROLES | {"stop": 2}, "2 is no list"),
    "an id beyond all": (GOOD_ROLES | {"header": [1 << 63]}, "9223372036854775808 is no token id"),
    "a header of words": (GOOD_ROLES | {"header": "two"}, "'two' is no list"),
    "a list without end": (GOOD_ROLES | {"stop": [1] * 999}, "is no list of at most 256 token ids"),
}


@pytest.mark.parametrize(("content", "message"), WRONG_ROLES.values(), ids=WRONG_ROLES.keys())
def test_wrong_roles_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "roles.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LoadError) as caught:
        load_special_tokens(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b" " * (1 << 20) + b"{}"])
def test_damaged_roles_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "roles.json").write_bytes(data)
    with pytest.raises(LoadError, match=r"roles\.json: "):
        load_special_tokens(tmp_path)
