"""Foreign tokenizers become ours: chat markers, control tokens, BOS, stops, no first blank."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tiny_checkpoints as tiny

from minillm.convert import convert
from minillm.errors import LoadError
from minillm.tokenizer import load_tokenizer

NO_TEMPLATE = {k: v for k, v in tiny.TOKENIZER_CONFIG.items() if k != "chat_template"}
UNKNOWN = NO_TEMPLATE | {"chat_template": "<|start_header_id|>{{ role }}<|end_header_id|>"}


def folder(path: Path, **changes: Any) -> Path:
    return tiny.write_folder(path / "source", tiny.weights(), **changes)


def test_markers_written_by_hand(tmp_path: Path) -> None:
    source = folder(tmp_path, tokenizer_config=UNKNOWN)
    roles = {
        "user": {"open": "<|im_start|>U:", "close": "\n"},
        "assistant": {"open": "<|im_start|>A:", "close": "<|endoftext|>"},
    }
    path = tmp_path / "markers.json"
    path.write_text(json.dumps({"roles": roles}), encoding="utf-8")
    convert(source, tmp_path / "ours", roles=path)
    tokenizer = load_tokenizer(tmp_path / "ours")
    assert tokenizer.roles.keys() == {"user", "assistant"}
    assert tokenizer.roles["user"].open == (1, *tokenizer.encode("U:"))
    assert tokenizer.roles["assistant"].close == (0,)
    path.write_text('{"roles": {}}', encoding="utf-8")
    convert(source, tmp_path / "ours2", roles=path)
    assert load_tokenizer(tmp_path / "ours2").roles == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "the file is [], expected an object"),
        ({"roles": {"tool": {}}}, "roles has the unknown key 'tool'"),
        ({"roles": {"user": {"open": "x"}}}, "role 'user' lacks 'close'"),
        ({"roles": {"user": {"open": "x", "close": 2}}}, "role 'user': 2 is no text"),
        (
            {"roles": {"user": {"open": "<|user|>", "close": ""}}},
            "a chat marker needs '<|user|>', which is no special token",
        ),
    ],
)
def test_wrong_markers_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "markers.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LoadError) as caught:
        convert(folder(tmp_path), tmp_path / "ours", roles=path)
    assert message in str(caught.value)


def added_token(content: str, id: int) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": id, "content": content, **plain}


def test_chat_markers_that_are_only_added_tokens_become_control_tokens(tmp_path: Path) -> None:
    # As in Phi-3: `special` is false, so that the library would find the token in any text.
    definition = tiny.tokenizer_json()
    first = len(tiny.TOKENS)
    for id, content in enumerate(("<|user|>", "  ", "<|tool|>"), start=first):
        definition["added_tokens"].append(added_token(content, id))
    config = tiny.HF_CONFIG | {"vocab_size": 264}
    weights = tiny.weights(vocab_size=264)
    source = tiny.write_folder(tmp_path / "hf", weights, config=config, tokenizer=definition)
    roles = {"user": {"open": "<|user|>  ", "close": "<|im_end|>"}}
    (tmp_path / "markers.json").write_text(json.dumps({"roles": roles}), encoding="utf-8")
    convert(source, tmp_path / "ours", roles=tmp_path / "markers.json")
    tokenizer = load_tokenizer(tmp_path / "ours")
    assert tokenizer.roles["user"].open == (first, first + 1)
    assert tokenizer.control_ids == {0, 1, 2, first, first + 2}
    # A run of blanks is text all the same, though a marker has one.
    assert first + 1 in tokenizer.encode("a  b<|user|><|tool|>")


@pytest.mark.parametrize(
    ("settings", "post_processor", "bos"),
    [
        ({"add_bos_token": True}, False, 1),
        ({"add_bos_token": False}, True, None),
        ({}, True, 1),
        ({}, False, None),
    ],
)
def test_bos_is_what_the_tokenizer_adds(
    tmp_path: Path, settings: dict[str, bool], post_processor: bool, bos: int | None
) -> None:
    definition = tiny.tokenizer_json()
    if post_processor:
        first = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        definition["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, text],
            "pair": [first, text],
            "special_tokens": {
                "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
            },
        }
    config = tiny.TOKENIZER_CONFIG | settings
    source = folder(tmp_path, tokenizer=definition, tokenizer_config=config)
    convert(source, tmp_path / "ours")
    tokenizer = load_tokenizer(tmp_path / "ours")
    assert tokenizer.bos_id == bos
    assert 1 not in tokenizer.encode("a")


def test_stop_tokens_come_from_all_that_name_them(tmp_path: Path) -> None:
    config = {k: v for k, v in tiny.TOKENIZER_CONFIG.items() if k != "unk_token"}
    ends = tiny.HF_CONFIG | {"eos_token_id": 7}
    source = folder(tmp_path, config=ends, tokenizer_config=config)
    (source / "generation_config.json").write_text('{"eos_token_id": [5, 6]}', encoding="utf-8")
    convert(source, tmp_path / "ours")
    tokenizer = load_tokenizer(tmp_path / "ours")
    assert tokenizer.stop_ids == {0, 2, 5, 6, 7}
    assert tokenizer.placeholder_id == 5  # no unknown token, no padding: the first end of text


def test_a_template_in_its_own_file(tmp_path: Path) -> None:
    source = folder(tmp_path, tokenizer_config=NO_TEMPLATE)
    (source / "chat_template.jinja").write_text(tiny.CHATML, encoding="utf-8")
    convert(source, tmp_path / "ours")
    assert len(load_tokenizer(tmp_path / "ours").roles) == 3


def test_of_several_templates_the_default(tmp_path: Path) -> None:
    several = [{"name": "tools", "template": "?"}, {"name": "default", "template": tiny.CHATML}]
    convert(
        folder(tmp_path, tokenizer_config=NO_TEMPLATE | {"chat_template": several}),
        tmp_path / "ours",
    )
    assert len(load_tokenizer(tmp_path / "ours").roles) == 3


def test_without_a_template_there_are_no_roles(tmp_path: Path) -> None:
    convert(folder(tmp_path, tokenizer_config=NO_TEMPLATE), tmp_path / "ours")
    assert load_tokenizer(tmp_path / "ours").roles == {}


def test_no_blank_is_put_before_a_text(tmp_path: Path) -> None:
    # The three ways in which tokenizer.json files do it.
    prepend = {"type": "Prepend", "prepend": "▁"}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
    sequence = {"type": "Sequence", "normalizers": [prepend, replace]}
    byte_level = tiny.tokenizer_json()["pre_tokenizer"]
    spm = {
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {
            "type": "BPE",
            "vocab": {
                "<|endoftext|>": 0,
                "<|im_start|>": 1,
                "<|im_end|>": 2,
                "▁": 3,
                "a": 4,
                "▁a": 5,
            },
            "merges": ["▁ a"],
        },
    }
    variants = {
        "prepend": tiny.tokenizer_json() | spm | {"normalizer": sequence, "pre_tokenizer": None},
        "metaspace": tiny.tokenizer_json() | spm | {"pre_tokenizer": metaspace},
        "byte level": tiny.tokenizer_json()
        | {"pre_tokenizer": byte_level | {"add_prefix_space": True}},
    }
    for name, definition in variants.items():
        source = folder(tmp_path / name, tokenizer=definition, tokenizer_config=NO_TEMPLATE)
        convert(source, tmp_path / name / "ours")
        tokenizer = load_tokenizer(tmp_path / name / "ours")
        for text in ("a", " a", "a a"):
            assert tokenizer.decode(tokenizer.encode(text)) == text, name


def test_a_folder_with_a_sentencepiece_model(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat", "a dog and a cat"]),
        model_writer=model,
        vocab_size=290,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        control_symbols=["<|im_start|>", "<|im_end|>"],
        minloglevel=2,
    )

    weights = tiny.weights(vocab_size=300)
    config = tiny.HF_CONFIG | {"vocab_size": 300}
    tokenizer_config = tiny.TOKENIZER_CONFIG | {"bos_token": "<s>", "unk_token": "<unk>"}
    source = tiny.write_folder(
        tmp_path / "hf", weights, config=config, tokenizer_config=tokenizer_config
    )
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.model").write_bytes(model.getvalue())
    convert(source, tmp_path / "ours")
    tokenizer = load_tokenizer(tmp_path / "ours")
    assert (tokenizer.bos_id, tokenizer.placeholder_id) == (1, 0)
    # SentencePiece puts its blank after a special token too, and the publisher's chats have it.
    as_published = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert tokenizer.roles["user"].open == (3, *as_published.encode("user\n"))
    assert tokenizer.roles["user"].close == (4, *as_published.encode("\n"))
    assert tokenizer.stop_ids == {2, 4}
