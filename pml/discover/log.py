"""Reading a log of prompts: JSON lines, each a prompt or a chat request.

"text"     {"prompt": "text"}     {"text": "text"}
{"messages": [{"role": "user", "content": "text"}, …]}      content also [{"type": "text", …}]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

from pml.discover.flat import Turn
from pml.errors import Location, PMLSyntaxError, closest, did_you_mean, listed, quoted
from pml.nodes import Role

ROLES = get_args(Role)


def read_log(path: Path) -> Iterator[tuple[int, tuple[Turn, ...]]]:
    """The prompts of a log, each with its line's number from 1; lines of white space are none.

    Raises PMLSyntaxError at the first line that is no prompt, OSError where there is no such file.
    """
    with path.open("rb") as file:
        yield from read_lines(file, str(path))


def read_lines(lines: Iterable[bytes], file: str) -> Iterator[tuple[int, tuple[Turn, ...]]]:
    """The prompts in the lines of a log; `file` is only the name that errors carry."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, parse_request(line.rstrip(), Location(file, number, 1))


def parse_request(line: str | bytes, at: Location) -> tuple[Turn, ...]:
    """The turns of one line of a log, which begins at `at`."""
    try:
        content: Any = json.loads(line)
    except json.JSONDecodeError as error:
        place = Location(at.file, at.line, error.colno)
        raise _wrong(f"not JSON: {error.msg}; {_EXPECTED}", place) from None
    except UnicodeDecodeError as error:
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the log in UTF-8"
        raise _wrong(message, at) from None
    except RecursionError:
        raise _wrong(f"JSON nested too deep; {_EXPECTED}", at) from None
    if isinstance(content, str):
        return (Turn(None, content),)
    if isinstance(content, dict):
        for key in ("prompt", "text"):
            if isinstance(content.get(key), str):
                return (Turn(None, content[key]),)
        if isinstance(content.get("messages"), list):
            return tuple(
                _message(message, number, at) for number, message in enumerate(content["messages"])
            )
        raise _wrong(f"an object with {listed(content, 'and') or 'nothing'}; {_EXPECTED}", at)
    raise _wrong(f"a JSON {_named(content)}; {_EXPECTED}", at)


def _wrong(message: str, at: Location) -> PMLSyntaxError:
    return PMLSyntaxError(message, at, code="log")


_EXPECTED = 'expected a string, {"prompt": "…"}, {"text": "…"} or {"messages": […]}'


def _message(message: Any, number: int, at: Location) -> Turn:
    where = f"message {number + 1}"
    if not isinstance(message, dict):
        expected = 'expected {"role": "…", "content": "…"}'
        raise _wrong(f"{where} is a JSON {_named(message)}; {expected}", at)
    role = message.get("role")
    if role not in ROLES:
        found = quoted(role) if isinstance(role, str) else f"a JSON {_named(role)}"
        guess = did_you_mean(closest(role, ROLES)) if isinstance(role, str) else ""
        raise _wrong(f"{where} has role {found}; expected {listed(ROLES)}{guess}", at)
    return Turn(cast(Role, role), _content(message.get("content"), where, at))


def _content(content: Any, where: str, at: Location) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        expected = "expected a string or a list of text parts"
        raise _wrong(f"{where} has a JSON {_named(content)} as content; {expected}", at)
    parts = [
        part["text"]
        for part in content
        if isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    ]
    if len(parts) < len(content):
        message = f'{where} has a part that is no text; expected {{"type": "text", "text": "…"}}'
        raise _wrong(message, at)
    return "".join(parts)


_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}


def _named(value: Any) -> str:
    return _NAMES.get(type(value), "number")
