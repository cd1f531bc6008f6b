"""What the tokenizers of foreign checkpoints become: our tokenizer files, written once.

`gguf_tokenizer.py` and `hf_tokenizer.py` say where the parts are found; here the special tokens
are settled, the chat markers become ids, and the result is tried out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from minillm.errors import LoadError, shown
from minillm.foreign.chat_form import ChatForm
from minillm.foreign.sentencepiece_model import Kind, read_pieces, with_pieces
from minillm.foreign.trusted import Trusted, encode_roles, trusted_json, trusted_sentencepiece
from minillm.special_tokens import RoleMarkers, SpecialTokens, save_special_tokens
from minillm.tokenizer import Tokenizer, load_tokenizer

# Control tokens that end an answer, whatever the file names as its end of text.
END_NAMES = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
)
_MARKUP = re.compile(r"<\|[^|<>]*\|>|<[^<>\s]*>|\[[^\[\]\s]*\]")


@dataclass(frozen=True)
class ForeignTokenizer:
    """A tokenizer file, and what the checkpoint says of its special tokens.

    `ends` are the ends of text, the first of them first. `adds_bos`: a text begins with `bos`;
    `prefix_blank`: a text, and what follows a special token in it, begins with a blank.
    """

    file_name: str
    definition: bytes
    bos: int | None
    adds_bos: bool
    unknown: int | None
    padding: int | None
    ends: tuple[int, ...]
    prefix_blank: bool
    template: str | None
    template_names: Mapping[str, str]
    """What a chat template may call by name: `bos_token`, `eos_token` and their like."""


@dataclass(frozen=True)
class Written:
    """A tokenizer of ours; `plain_markers` are names in its chat markers that are no tokens."""

    tokenizer: Tokenizer
    plain_markers: tuple[str, ...]


def write_tokenizer(foreign: ForeignTokenizer, form: ChatForm, folder: Path) -> Written:
    """Write the tokenizer file and `roles.json` into `folder`.

    Raises `LoadError` where a marker names a token that the vocabulary lacks, or where text could
    give a control token.
    """
    is_json = foreign.file_name == "tokenizer.json"
    trust, with_control = (
        (trusted_json, _json_with_control)
        if is_json
        else (trusted_sentencepiece, _spm_with_control)
    )
    trusted = trust(foreign.definition, foreign.prefix_blank)
    special = _special_tokens(foreign, trusted, form, encode_roles(form, trusted))
    (folder / foreign.file_name).write_bytes(with_control(foreign.definition, special))
    save_special_tokens(special, form.roles, folder)
    tokenizer = load_tokenizer(folder)
    for name in trusted.names:
        try:
            tokenizer.encode(f"a {name} b{name}")
        except ValueError as error:
            raise LoadError(f"text can spell the control token {shown(name)}") from error
    return Written(tokenizer, tuple(name for name in form.names() if name not in trusted.names))


def _special_tokens(
    foreign: ForeignTokenizer, trusted: Trusted, form: ChatForm, roles: Mapping[str, RoleMarkers]
) -> SpecialTokens:
    named = [trusted.names[name] for name in END_NAMES if name in trusted.names]
    closing = roles["assistant"].close[:1] if "assistant" in roles else ()
    stop = {*foreign.ends, *named, *set(trusted.names.values()).intersection(closing)}
    candidates = (foreign.unknown, foreign.padding, *foreign.ends, *named)
    placeholder = next((id for id in candidates if id is not None), None)
    if placeholder is None:
        raise LoadError("the tokenizer names no unknown token, padding or end of text")
    bos = foreign.bos if foreign.adds_bos or form.begins_with_bos else None
    return SpecialTokens(bos, placeholder, frozenset(stop), MappingProxyType(dict(roles)))


def _is_control(name: str, used: bool) -> bool:
    """Whether an added token that the file does not call special is one all the same.

    Such tokens are found in any text. For runs of blanks that is meant; for a chat marker it would
    let a user's text open another role.
    """
    return bool(_MARKUP.fullmatch(name)) and (used or name.startswith("<|"))


def _json_with_control(definition: bytes, special: SpecialTokens) -> bytes:
    content, used = json.loads(definition), special.all_ids()
    for token in content["added_tokens"]:
        if _is_control(token["content"], token["id"] in used):
            token["special"] = True
    return json.dumps(content, ensure_ascii=False).encode()


def _spm_with_control(definition: bytes, special: SpecialTokens) -> bytes:
    used, pieces = special.all_ids(), read_pieces(definition)

    changed = [
        replace(piece, kind=Kind.CONTROL)
        if piece.kind is Kind.USER_DEFINED and _is_control(piece.text, id in used)
        else piece
        for id, piece in enumerate(pieces)
    ]
    return definition if changed == pieces else with_pieces(definition, changed)
