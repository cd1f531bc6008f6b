"""Chat markers to ids: the one place where a special token spelled in a text is meant as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minillm.errors import LoadError, shown
from minillm.foreign.chat_form import ChatForm
from minillm.foreign.sentencepiece_model import Kind, read_pieces
from minillm.special_tokens import MarkerTexts, RoleMarkers
from minillm.tokenizer_json import open_backend
from minillm.tokenizer_spm import open_model

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Trusted:
    """`names` are the tokens that a text can name; it is cut at those of `cuts`.

    `ids` encodes what is between; `first_ids` does where the tokenizer puts a blank first, which
    SentencePiece does at the beginning of a text and after a special token.
    """

    names: Mapping[str, int]
    cuts: Mapping[str, int]
    ids: Encode
    first_ids: Encode

    def encode(self, text: str, begins: bool) -> tuple[int, ...]:
        """The ids of `text`; `begins`: it stands where a blank is put first."""
        names = sorted(self.cuts, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]
        found: list[int] = []
        for part in filter(None, parts):
            if part in self.cuts:
                found.append(self.cuts[part])
            else:
                found += self.first_ids(part) if begins else self.ids(part)
            begins = part in self.cuts
        return tuple(found)


def trusted_json(definition: bytes, prefix_blank: bool) -> Trusted:
    backend = open_backend(definition)
    added = backend.get_added_tokens_decoder()
    names = {token.content: id for id, token in added.items()}

    def ids(text: str) -> list[int]:
        found: list[int] = backend.encode(text, add_special_tokens=False).ids
        return found

    if not prefix_blank:
        # The library cuts the text by itself, and knows which special tokens swallow blanks.
        return Trusted(names, {}, ids, ids)
    return Trusted(names, names, ids, lambda text: ids(f" {text}"))


def trusted_sentencepiece(definition: bytes, prefix_blank: bool) -> Trusted:
    pieces = enumerate(read_pieces(definition))
    kinds = (Kind.CONTROL, Kind.USER_DEFINED)
    names = {piece.text: id for id, piece in pieces if piece.kind in kinds}
    without, as_it_is = open_model(definition), open_model(definition, dummy_prefix=prefix_blank)
    # The library has no way to name a control token in a text.
    return Trusted(names, names, without.encode, as_it_is.encode)


def encode_roles(form: ChatForm, trusted: Trusted) -> dict[str, RoleMarkers]:
    """The ids of every marker of `form`; raises `LoadError` for a name that no token has."""
    missing = [name for name in form.names() if name not in trusted.names]
    if missing and not form.may_be_plain:
        raise LoadError(f"a chat marker needs {shown(missing[0])}, which is no special token")
    found = {}
    for role, texts in form.roles.items():
        begins = all(_ends_special(text, trusted) for text in _before(role, form.roles))
        system = form.roles.get("system")
        found[role] = RoleMarkers(
            open=trusted.encode(texts.open, begins),
            close=trusted.encode(texts.close, begins=False),
            after_system=None
            if texts.after_system is None or system is None
            else trusted.encode(texts.after_system, _ends_special(system.close, trusted)),
            cue=None if texts.cue is None else trusted.encode(texts.cue, begins),
        )
    return found


def _before(role: str, roles: Mapping[str, MarkerTexts]) -> list[str]:
    """The closing markers that may stand right before a turn of `role`, which else comes first."""
    inside = role in roles and roles[role].after_system is not None
    others = {"system": [], "user": ["assistant"], "assistant": ["user"]}[role]
    others += [] if inside or role != "user" else ["system"]
    return [roles[name].close for name in others if name in roles]


def _ends_special(text: str, trusted: Trusted) -> bool:
    return text.endswith(tuple(trusted.cuts))
