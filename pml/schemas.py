"""Schemas as a library takes them: where they come from, and what an edited one changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pml.context import State
from pml.planner import Planner
from pml.schema import Schema, parse_schema
from pml.writer import write_schema


def read_schema(source: str | Path | Schema) -> Schema:
    """The schema in a file, in PML text (which starts with `<`), or built in code, which is held to
    the same rules. Raises `PMLError`."""
    if isinstance(source, Schema):
        write_schema(source)
        return source
    text = str(source)
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        return parse_schema(text)
    path = Path(source).expanduser()
    return parse_schema(path.read_bytes(), str(source), src_root=path.parent)


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
