"""Schemas and prompts as they are named on a command line, and how their errors are shown."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.cells import cell_len

from minillm.console import Commands, note
from pml.diagnostics import Diagnostic, Lines
from pml.errors import Location, PMLError
from pml.markup import PROMPT_LIMITS, SCHEMA_LIMITS
from pml.prompt import Prompt, parse_prompt
from pml.schema import Schema, parse_schema

INVALID = 3


class LayoutName(StrEnum):
    fixed = "fixed"
    packed = "packed"


class AttentionName(StrEnum):
    isolated = "isolated"
    guaranteed = "guaranteed"
    learned = "learned"
    joint = "joint"


class QualityName(StrEnum):
    fast = "fast"
    balanced = "balanced"
    exact = "exact"


SchemaArgument = Annotated[Path, typer.Argument(metavar="SCHEMA", help="A schema's file.")]
PromptArgument = Annotated[
    str, typer.Argument(metavar="PROMPT", help="A prompt's file, its text (<prompt …), or -.")
]
ModelFlag = Annotated[
    Path,
    typer.Option("--model", metavar="DIR", envvar="PML_MODEL", help="A converted checkpoint."),
]
StoreFlag = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Keep states there, and take what is there."),
]
LayoutFlag = Annotated[
    LayoutName | None, typer.Option("--layout", help="Instead of what the schema says.")
]
AttentionFlag = Annotated[
    AttentionName | None, typer.Option("--attention", help="Instead of what the schema says.")
]


QualityFlag = Annotated[
    QualityName, typer.Option("--quality", help="fast: plain reuse; exact: as full prefill.")
]


@dataclass(frozen=True)
class Document:
    """The bytes of a document, the name that its errors carry, and its folder if it is a file."""

    data: bytes = field(repr=False)
    file: str
    folder: Path | None = None

    def prompt(self) -> Prompt:
        return parse_prompt(self.data, self.file)


_unnamed: dict[str, bytes] = {}
"""What was read but stands in no file, for the line under an error."""


def read_schema(path: Path) -> Schema:
    """Raises `PMLError`, and `OSError` where there is no such file."""
    data = _read(path, SCHEMA_LIMITS.document_bytes)
    return parse_schema(data, str(path), src_root=path.parent)


def read_prompt(argument: str) -> Document:
    """The prompt in a file, on stdin (`-`), or in the argument itself, which starts with `<` or is
    blank."""
    return _read_document(argument, PROMPT_LIMITS.document_bytes)


def read_document(argument: str) -> Document:
    """A schema or a prompt, named as `read_prompt` has it."""
    return _read_document(argument, SCHEMA_LIMITS.document_bytes)


def _read_document(argument: str, most_bytes: int) -> Document:
    if argument.lstrip().startswith("<") or not argument.strip():
        name = "<schema>" if argument.lstrip().startswith("<schema") else "<prompt>"
        document = Document(argument.encode(errors="surrogateescape"), name)
    elif argument == "-":
        document = Document(sys.stdin.buffer.read(most_bytes + 1), "<stdin>")
    else:
        path = Path(argument)
        return Document(_read(path, most_bytes), argument, path.parent)
    _unnamed[document.file] = document.data
    return document


def _read(path: Path, most_bytes: int) -> bytes:
    """The file, or one byte more than its parser takes."""
    with path.open("rb") as file:
        return file.read(most_bytes + 1)


class PMLCommands(Commands):
    """Knows errors of the language too: one line, and on a terminal the place itself."""

    def explain(self, error: Exception) -> int | None:
        if isinstance(error, PMLError):
            tell(error)
            return INVALID
        return super().explain(error)


def tell(found: PMLError | Diagnostic, excerpts: bool | None = None) -> None:
    """One line on stderr, and on a terminal, or if asked for, the line of the document below."""
    note(str(found))
    if found.at is not None and (sys.stderr.isatty() if excerpts is None else excerpts):
        source = excerpt(found.at, shutil.get_terminal_size().columns)
        if source:
            note(source)


def excerpt(at: Location, width: int) -> str:
    """The line of `at`, and below it carets under what begins there; empty if it cannot be read."""
    data = _unnamed.get(at.file)
    try:
        data = _read(Path(at.file), SCHEMA_LIMITS.document_bytes) if data is None else data
    except OSError:
        return ""
    lines = Lines(data, at.file)
    line = "".join(sign if sign.isprintable() else " " for sign in lines.line(at.line))
    end = lines.end_of(at)
    if end is None:
        return ""
    column = at.column - 1
    start = max(0, column - width // 2) if cell_len(line) > width - 4 else 0
    shown = line[start : start + width - 4]
    marked = line[column : end.column - 1] if end.line == at.line else line[column:]
    room = cell_len(line[start:column])
    carets = "^" * max(1, min(cell_len(marked), width - 4 - room))
    return f"  {shown}\n  {' ' * room}{carets}"
