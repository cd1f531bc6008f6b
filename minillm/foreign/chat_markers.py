"""From a chat template to the markers around each role, once, at conversion.

A template is a program from somebody else's file. It is recognised here, as text, and never run:
a checkpoint whose template is not recognised needs its markers written down by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from minillm.errors import LoadError, shown
from minillm.json_file import fields, read_json
from minillm.special_tokens import ROLES, MarkerTexts

EXAMPLE = (
    '{"roles": {"user": {"open": "<|user|>\\\\n", "close": "<|end|>\\\\n"}, '
    '"assistant": {"open": "<|assistant|>\\\\n", "close": "<|end|>\\\\n"}}}'
)


_NEWLINE = r"(?:\n|\\n)"
_JOIN = r"['\"]?\s*(?:\+|~)?\s*['\"]?"  # between two literals, or inside of one
_ROLE = r"(?:['\"]\s*[+~]\s*ROLE\s*[+~]\s*['\"]|\{\{-?\s*ROLE\s*-?\}\})".replace(
    "ROLE", r"message(?:\.role|\[['\"]role['\"]\])"
)
_CHATML = (
    re.compile(r"<\|im_start\|>" + _ROLE + _NEWLINE),
    re.compile(r"<\|im_end\|>" + _JOIN + _NEWLINE),
    re.compile(r"<\|im_start\|>assistant" + _JOIN + _NEWLINE),
)


def recognise(template: str | None) -> Mapping[str, MarkerTexts]:
    """The markers that a chat template puts around each role; none without a template.

    Known is ChatML: `<|im_start|>ROLE⏎ … <|im_end|>⏎`. Its default system prompt, where a template
    has one, is not a marker and is left out. Raises `LoadError` for any other template.
    """
    if template is None or not template.strip():
        return {}
    if all(pattern.search(template) for pattern in _CHATML):
        return {role: MarkerTexts(f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ROLES}
    raise LoadError(
        "the chat template is not recognised (known: ChatML): write the markers into a file like "
        f'{EXAMPLE} and name it with --roles; {{"roles": {{}}}} is a model without chat'
    )


def read_markers(path: Path) -> Mapping[str, MarkerTexts]:
    """The markers written down by hand, as the error above shows."""
    try:
        top = fields(read_json(path), {"roles"}, "the file")
        roles = fields(top["roles"], set(), "roles", optional=set(ROLES))
        return {name: _texts(name, content) for name, content in roles.items()}
    except ValueError as error:
        raise LoadError(f"{path}: {error}") from error


def _texts(role: str, content: object) -> MarkerTexts:
    found = fields(content, {"open", "close"}, f"role {role!r}")
    for text in found.values():
        if not isinstance(text, str):
            raise ValueError(f"role {role!r}: {shown(text)} is no text")
    return MarkerTexts(str(found["open"]), str(found["close"]))
