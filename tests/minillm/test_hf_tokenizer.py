"""A Hugging Face folder's tokenizer: special tokens, added tokens, chats as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tiny_checkpoints as tiny
from golden_vocabularies import llama2_model

from minillm.convert import convert
from minillm.errors import LoadError
from minillm.foreign.chat_form import read_markers
from minillm.foreign.chat_known import TEMPLATES
from minillm.foreign.chat_render import form_of_template
from minillm.foreign.hf_tokenizer import tokenizer_of_folder
from minillm.foreign.tokenizer import write_tokenizer
from minillm.special_tokens import RoleMarkers
from minillm.tokenizer import Tokenizer, load_tokenizer

CHATML = TEMPLATES["chatml"][0]
LLAMA2 = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>"}


def converted(folder: Path, files: dict[str, object], roles: Path | None = None) -> Tokenizer:
    """The tokenizer of a folder of these files, texts and bytes as they are, the rest as JSON."""
    source, target = folder / "source", folder / "target"
    for path in (source, target):
        path.mkdir()
    for name, content in files.items():
        data = content if isinstance(content, bytes | str) else json.dumps(content)
        (source / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    foreign = tokenizer_of_folder(source)
    form = form_of_template(foreign.template, foreign.template_names)
    write_tokenizer(foreign, read_markers(roles) if roles else form, target)
    return load_tokenizer(target)


def published(text: str) -> tuple[int, ...]:
    """The ids of Llama 2's own tokenizer, which puts a blank first."""
    return tuple(sentencepiece.SentencePieceProcessor(model_proto=llama2_model()).encode(text))


def test_llama_2_chats_have_the_publishers_ids(tmp_path: Path) -> None:
    template = TEMPLATES["llama2"][0]
    config = LLAMA2 | {"chat_template": template}
    tokenizer = converted(
        tmp_path, {"tokenizer.model": llama2_model(), "tokenizer_config.json": config}
    )
    assert tokenizer.bos_id == 1
    roles = tokenizer.roles
    assert roles["system"].open == published("[INST] <<SYS>>\n")
    assert roles["user"].open == published("[INST] ")
    assert roles["user"].close == published("[/INST]")  # after a text: the blank is its own
    assert roles["user"].opening("system") == ()
    assert roles["user"].opening("assistant") == roles["user"].opening(None) == roles["user"].open
    assert roles["assistant"].asking == ()
    assert roles["assistant"].open == (29871,)
    assert roles["assistant"].close == (29871, 2, 1)
    assert tokenizer.stop_ids == {2}
    turn = [*roles["user"].open, *tokenizer.encode("Hi"), *roles["user"].close]
    assert tokenizer.decode(turn) == " [INST] Hi [/INST]"


def test_a_vicuna_begins_its_turns_with_a_blank(tmp_path: Path) -> None:
    config = LLAMA2 | {"chat_template": TEMPLATES["vicuna"][0]}
    tokenizer = converted(
        tmp_path, {"tokenizer.model": llama2_model(), "tokenizer_config.json": config}
    )
    user, assistant = tokenizer.roles["user"], tokenizer.roles["assistant"]
    assert user.open == user.after_system == published("USER: ")
    assert assistant.asking == published("ASSISTANT:")
    assert assistant.close == (2,)


def test_tokens_added_to_a_sentencepiece_model(tmp_path: Path) -> None:
    added = {"<|im_end|>": 32000, "<|im_start|>": 32001, "☃☃": 32002}
    decoder = {"32000": {"content": "<|im_end|>", "special": True}}
    config = LLAMA2 | {"chat_template": CHATML, "added_tokens_decoder": decoder}
    tokenizer = converted(
        tmp_path,
        {
            "tokenizer.model": llama2_model(),
            "tokenizer_config.json": config,
            "added_tokens.json": added,
        },
    )
    assert tokenizer.vocab_size == 32003
    assert tokenizer.control_ids == {0, 1, 2, 32000, 32001}  # a chat marker is one, special or not
    assert tokenizer.roles["user"] == RoleMarkers(
        (32001, *published("user\n")), (32000, *published("\n"))
    )
    text = "a <|im_start|> ☃☃ b"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert 32002 in tokenizer.encode(text)


def test_tokens_that_only_the_configuration_adds(tmp_path: Path) -> None:
    first = len(tiny.TOKENS)
    decoder = {
        str(first): {"content": "<|user|>", "special": True},
        str(first + 1): {"content": "    ", "special": False},
        "0": {"content": "<|endoftext|>", "special": True},
    }
    config = tiny.TOKENIZER_CONFIG | {"added_tokens_decoder": decoder}
    tokenizer = converted(
        tmp_path, {"tokenizer.json": tiny.tokenizer_json(), "tokenizer_config.json": config}
    )
    assert tokenizer.vocab_size == first + 2
    assert first in tokenizer.control_ids
    assert tokenizer.encode("!    !").count(first + 1) == 1


WRONG_ADDED: dict[str, tuple[dict[str, object], str]] = {
    "another id": (
        {"tokenizer.json": {"5": {"content": "<|endoftext|>"}}},
        "added token '<|endoftext|>' is 5, but 0 in tokenizer.json",
    ),
    "a hole": (
        {"tokenizer.model": {"32001": {"content": "<|x|>"}}},
        "added token '<|x|>' leaves out 32000",
    ),
    "no token": ({"tokenizer.json": {"7": "x"}}, "added_tokens_decoder: '7' is 'x', not a token"),
    "no id": (
        {"tokenizer.json": {"x": {"content": "y"}}},
        "added_tokens_decoder: 'x' is {'content': 'y'}, not a token",
    ),
}


@pytest.mark.parametrize(("files", "message"), WRONG_ADDED.values(), ids=WRONG_ADDED.keys())
def test_added_tokens_that_do_not_fit(
    tmp_path: Path, files: dict[str, object], message: str
) -> None:
    ((name, decoder),) = files.items()
    vocabulary = tiny.tokenizer_json() if name == "tokenizer.json" else llama2_model()
    config = LLAMA2 | {"added_tokens_decoder": decoder}
    with pytest.raises(LoadError) as caught:
        converted(tmp_path, {name: vocabulary, "tokenizer_config.json": config})
    assert message in str(caught.value)


def test_special_tokens_come_from_the_map_where_the_configuration_has_none(tmp_path: Path) -> None:
    names = {
        "bos_token": {"content": "<|im_start|>"},
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    tokenizer = converted(
        tmp_path,
        {
            "tokenizer.json": tiny.tokenizer_json(),
            "tokenizer_config.json": {"add_bos_token": True, "bos_token": None},
            "special_tokens_map.json": names,
        },
    )
    assert (tokenizer.bos_id, tokenizer.placeholder_id) == (1, 0)
    assert tokenizer.stop_ids == {0, 2}


def test_an_end_of_text_that_is_no_id_is_refused(tmp_path: Path) -> None:
    files = {"tokenizer.json": tiny.tokenizer_json(), "generation_config.json": {}}
    assert converted(tmp_path, files | {"config.json": {"eos_token_id": [-1, None, 7]}}).stop_ids
    for path in (tmp_path / "source", tmp_path / "target"):
        path.rename(path.with_suffix(".done"))
    files["generation_config.json"] = {"eos_token_id": ["</s>"]}
    with pytest.raises(LoadError, match="the end of text has the id '</s>', expected a whole"):
        converted(tmp_path, files)


def test_a_chat_may_begin_with_a_token_that_other_texts_do_not(tmp_path: Path) -> None:
    config = tiny.TOKENIZER_CONFIG | {
        "bos_token": "<|endoftext|>",
        "chat_template": "{{ bos_token }}" + CHATML,
    }
    tokenizer = converted(
        tmp_path, {"tokenizer.json": tiny.tokenizer_json(), "tokenizer_config.json": config}
    )
    assert tokenizer.bos_id == 0
    assert tokenizer.roles["user"].open[0] == 1


def test_a_fast_llama_tokenizer_begins_its_markers_with_a_blank(tmp_path: Path) -> None:
    vocabulary = ["<unk>", "<s>", "</s>", "▁", "U", ":", "▁U"]
    definition: dict[str, Any] = tiny.tokenizer_json() | {
        "normalizer": {"type": "Prepend", "prepend": "▁"},
        "pre_tokenizer": None,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {
            "type": "BPE",
            "vocab": {token: id for id, token in enumerate(vocabulary)},
            "merges": ["▁ U"],
        },
    }
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    definition["added_tokens"] = [
        {"id": id, "content": vocabulary[id], "special": True, **plain} for id in range(3)
    ]
    definition["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    roles = tmp_path / "roles.json"
    markers = {
        "user": {"open": "U:", "close": "</s>", "after_system": "U:"},
        "assistant": {"open": ":", "close": "</s>U", "cue": "<s>:"},
    }
    roles.write_text(json.dumps({"roles": markers}), encoding="utf-8")
    tokenizer = converted(
        tmp_path,
        {"tokenizer.json": definition, "tokenizer_config.json": LLAMA2},
        roles,
    )
    assert tokenizer.encode("U: U") == [4, 5, 6]
    # Not after an answer, which does not end in a special token; but after one inside a marker.
    assert tokenizer.roles["user"].open == (4, 5)
    assert tokenizer.roles["assistant"].open == (3, 5)
    assert tokenizer.roles["assistant"].close == (2, 6)
    assert tokenizer.roles["assistant"].asking == (1, 3, 5)


def test_a_known_format_by_its_name(tmp_path: Path) -> None:
    unknown = tiny.TOKENIZER_CONFIG | {"chat_template": "{% if"}
    source = tiny.write_folder(tmp_path / "hf", tiny.weights(), tokenizer_config=unknown)
    convert(source, tmp_path / "chat", roles="chatml")
    assert load_tokenizer(tmp_path / "chat").roles["user"].close[0] == 2
    convert(source, tmp_path / "plain", roles="plain")
    assert load_tokenizer(tmp_path / "plain").roles == {}
    with pytest.raises(LoadError, match=r"a chat marker needs '<\|start_header_id\|>'"):
        convert(source, tmp_path / "llama3", roles="llama3")
    nameless = {"unk_token": "<|endoftext|>"}
    other = tiny.write_folder(tmp_path / "hf2", tiny.weights(), tokenizer_config=nameless)
    with pytest.raises(LoadError, match="vicuna needs tokens for the beginning and the end"):
        convert(other, tmp_path / "vicuna", roles="vicuna")
    with pytest.raises(LoadError, match=r"nothing\.json"):
        convert(source, tmp_path / "other", roles="nothing.json")


def test_markers_that_are_ordinary_text_are_told(tmp_path: Path) -> None:
    template = (
        "{% for message in messages %}{{ '<|' + message.role + '|>\n' + message.content + eos_token"
        " }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    config = tiny.TOKENIZER_CONFIG | {"chat_template": template}
    source = tiny.write_folder(tmp_path / "hf", tiny.weights(), tokenizer_config=config)
    made = convert(source, tmp_path / "ours")
    assert made.plain_markers == ("<|system|>", "<|user|>", "<|assistant|>")
    tokenizer = load_tokenizer(tmp_path / "ours")
    assert tokenizer.roles["user"].open == tuple(tokenizer.encode("<|user|>\n"))
    assert tokenizer.roles["assistant"].close == (2,)
