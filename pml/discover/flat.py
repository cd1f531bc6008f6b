"""A prompt as one string: what finding and rewriting work on.

A plain prompt is its text. A chat is its turns, each `OPEN[role] + text + CLOSE`; a slot of a
module is `SLOT`. These are control characters that XML cannot hold, so that no text which PML can
say is ever mistaken for them, and a piece of a chat is a piece of a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pml.errors import PMLError
from pml.nodes import Role

OPEN: dict[Role, str] = {"system": "\x01", "user": "\x02", "assistant": "\x03"}
ROLE_OF: dict[str, Role] = {mark: role for role, mark in OPEN.items()}
CLOSE = "\x04"
MARKS = "".join((*ROLE_OF, CLOSE))
SLOT = "\x05"

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_BALANCED = re.compile("(?:[\x01-\x03][^\x01-\x04]*\x04)+|[^\x01-\x04]+")
_NODE = re.compile("[\x01-\x05]|[^\x01-\x05]+")


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a chat, or with no role all of a plain prompt."""

    role: Role | None
    text: str


def flatten(prompt: str | Sequence[Turn]) -> str:
    r"""A plain prompt, or the turns of a chat, as one string.

    Raises PMLError where a character is one that no PML can hold.

    >>> flatten([Turn("system", "Be brief."), Turn("user", "Hi")])
    '\x01Be brief.\x04\x02Hi\x04'
    """
    turns = (Turn(None, prompt),) if isinstance(prompt, str) else prompt
    for turn in turns:
        found = _FORBIDDEN.search(turn.text)
        if found:
            message = f"character U+{ord(found[0]):04X}, which XML does not allow"
            advice = "the prompt cannot be written as PML"
            raise PMLError(f"{message}; {advice}", code="encoding")
    return "".join(
        turn.text if turn.role is None else OPEN[turn.role] + turn.text + CLOSE for turn in turns
    )


def balanced(flat: str) -> list[str]:
    r"""The longest parts of a piece that a module can hold: whole turns, or text inside of one.

    >>> balanced("end.\x04\x02Hi\x04\x03Hello\x04\x02And")
    ['end.', '\x02Hi\x04\x03Hello\x04', 'And']
    """
    return _BALANCED.findall(flat)


def nodes(flat: str) -> Iterator[str]:
    """The marks and the texts between them, in order."""
    return (match[0] for match in _NODE.finditer(flat))
