"""How a model's chats are written: what a chat template comes down to, or a file made by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from minillm.errors import LoadError, shown
from minillm.json_file import fields, read_json
from minillm.special_tokens import ROLES, MarkerTexts

EXAMPLE = (
    '{"roles": {"user": {"open": "<|user|>\\\\n", "close": "<|end|>\\\\n"}, '
    '"assistant": {"open": "<|assistant|>\\\\n", "close": "<|end|>\\\\n"}}}'
)
BY_HAND = (
    f"write the markers into a file like {EXAMPLE} and name it with --roles; "
    '{"roles": {}} is a model without chat'
)
OPTIONAL = {"after_system", "cue"}
_NAME = re.compile(r"<\|[^|<>]*\|>")


@dataclass(frozen=True)
class ChatForm:
    """The markers of each role; none is a model without chat.

    `begins_with_bos`: a chat begins with that token, even where other texts do not.
    `may_be_plain`: a name like `<|user|>` in a marker need be no special token, as it is none in
    TinyLlama, where any text can spell it.
    """

    roles: Mapping[str, MarkerTexts]
    begins_with_bos: bool = False
    may_be_plain: bool = False

    def names(self) -> tuple[str, ...]:
        """What looks like a special token in the markers."""
        texts = (text for texts in self.roles.values() for text in astuple(texts) if text)
        return tuple(dict.fromkeys(name for text in texts for name in _NAME.findall(text)))


def read_markers(path: Path) -> ChatForm:
    """The markers written down by hand, as `EXAMPLE` shows; `after_system` and `cue` are optional.

    Raises `LoadError`.
    """
    try:
        top = fields(read_json(path), {"roles"}, "the file")
        roles = fields(top["roles"], set(), "roles", optional=set(ROLES))
        return ChatForm({name: _texts(name, content) for name, content in roles.items()})
    except ValueError as error:
        raise LoadError(f"{path}: {error}") from error


def _texts(role: str, content: object) -> MarkerTexts:
    found = fields(content, {"open", "close"}, f"role {role!r}", optional=OPTIONAL)
    for text in found.values():
        if not isinstance(text, str):
            raise ValueError(f"role {role!r}: {shown(text)} is no text")
    return MarkerTexts(**{name: str(text) for name, text in found.items()})
