"""Documents as a library takes them: where they come from, and what an edited schema changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pml.context import State
from pml.errors import Location, PMLSyntaxError, quoted
from pml.planner import Planner
from pml.prompt import Prompt, parse_prompt
from pml.schema import Schema, parse_schema
from pml.writer import write_schema

PromptSource = str | bytes | Path | Prompt
"""A prompt: its PML text, the file that holds it, or one that was built in code."""

Source = TypeVar("Source")


def read_prompt(source: PromptSource, file: str = "<prompt>") -> Prompt:
    """The prompt; `file` is the name that errors in a text carry. Raises `PMLError`.

    A str is never the name of a file: a prompt may come from anybody."""
    if isinstance(source, str) and "<" not in source:
        found = f"found {quoted(source)}; expected <prompt schema=…>, or a file as pathlib.Path"
        raise PMLSyntaxError(found, Location(file, 1, 1), code="wrong-root")
    if isinstance(source, Path):
        return parse_prompt(source.expanduser().read_bytes(), str(source))
    return source if isinstance(source, Prompt) else parse_prompt(source, file)


def several(prompts: Iterable[Source]) -> list[Source]:
    """Raises `TypeError` for one prompt where several are expected."""
    if isinstance(prompts, PromptSource):
        raise TypeError(f"found one prompt, a {type(prompts).__name__}, expected a list of them")
    return list(prompts)


def read_schema(source: str | bytes | Path | Schema) -> Schema:
    """The schema in a file, in PML text (a str of it starts with `<`), or built in code, which is
    held to the same rules. Raises `PMLError`."""
    if isinstance(source, Schema):
        write_schema(source)
        return source
    if isinstance(source, str) and not source.lstrip(_BLANK).startswith("<"):
        source = Path(source)
    if isinstance(source, Path):
        path = source.expanduser()
        return parse_schema(path.read_bytes(), str(source), src_root=path.parent)
    return parse_schema(source)


_BLANK = "\ufeff \t\r\n"


@dataclass(frozen=True)
class Changes:
    """The paths of a schema's states against those of the schema of the same name before it.

    `kept` need no encoding again; `changed` have other words, or see others, or in the layout
    `fixed` stand elsewhere; of `added` and `gone` only one of the two schemas has any.
    """

    kept: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]

    @classmethod
    def between(cls, before: Planner | None, after: Planner) -> Changes:
        old, new = _by_path(before) if before else {}, _by_path(after)
        both = [path for path in new if path in old]
        return cls(
            kept=tuple(path for path in both if new[path] == old[path]),
            changed=tuple(path for path in both if new[path] != old[path]),
            added=tuple(path for path in new if path not in old),
            gone=tuple(path for path in old if path not in new),
        )


def _by_path(planner: Planner) -> dict[str, list[State]]:
    found: dict[str, list[State]] = {}
    for state in planner.usable:
        found.setdefault(state.path, []).append(state)
    return found
