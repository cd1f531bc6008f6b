"""All that is wrong with a document, as data: for a terminal, an editor, a CI.

    checked = diagnose_schema(text, "travel.pml")
    checked.tree            the Schema, as far as it could be read; None if it is no XML at all
    checked.diagnostics     in the document's order; `has_errors` if one of them is an error
    diagnose_prompt(text, "ask.pml", schema)        the same for a prompt; with None for the
                                                    schema only what can be said without one

A `Diagnostic` has a severity, the code of a rule (`pml.rule_table`), one line of message, a range
[at, end) of its document, the word that was likely meant (`suggestion`), and places that it has
to do with (`related`). Malformed XML ends a document at once: what follows would be guessed.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pml.check import prompt_errors
from pml.errors import EnoughErrors, ErrorList, Location, PMLError, Related, Report
from pml.markup import PROMPT_LIMITS, SCHEMA_LIMITS, Limits
from pml.nodes import Prompt, Schema
from pml.prompt import parse_prompt
from pml.schema import parse_schema

Severity = Literal["error", "warning", "info"]
Tree = TypeVar("Tree", Schema, Prompt)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to say about a document; `end` is None where it is about no range of its text."""

    code: str
    message: str
    at: Location | None = None
    end: Location | None = None
    severity: Severity = "error"
    suggestion: str | None = None
    related: tuple[Related, ...] = ()

    def __str__(self) -> str:
        """One line; an error's is that of its `PMLError`."""
        kind = "" if self.severity == "error" else f"{self.severity}: "
        rule = f" [{self.code}]" if kind else ""
        return f"{self.at}: {kind}{self.message}{rule}" if self.at else self.message


@dataclass(frozen=True, slots=True)
class Checked(Generic[Tree]):
    """A document's tree, without what could not be read, and what is to say about it."""

    tree: Tree | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def has_errors(self) -> bool:
        return any(found.severity == "error" for found in self.diagnostics)


def diagnose_schema(
    text: str | bytes,
    file: str = "<schema>",
    *,
    limits: Limits = SCHEMA_LIMITS,
    src_root: Path | None = None,
) -> Checked[Schema]:
    """The schema that the text declares, and every error in it (the first hundred)."""

    def read(report: Report) -> Schema:
        return parse_schema(text, file, limits=limits, src_root=src_root, report=report)

    return _checked(read, lambda tree: (), text, file)


def diagnose_prompt(
    text: str | bytes,
    file: str = "<prompt>",
    schema: Schema | None = None,
    *,
    limits: Limits = PROMPT_LIMITS,
    repeat: bool = False,
) -> Checked[Prompt]:
    """The prompt that the text asks for, and every error in it (the first hundred).

    `repeat` as in `check_prompt`.
    """

    def read(report: Report) -> Prompt:
        return parse_prompt(text, file, limits=limits, report=report)

    def unfit(prompt: Prompt) -> Iterable[PMLError]:
        return prompt_errors(prompt, schema, repeat=repeat) if schema else ()

    return _checked(read, unfit, text, file)


def _checked(
    read: Callable[[Report], Tree],
    unfit: Callable[[Tree], Iterable[PMLError]],
    text: str | bytes,
    file: str,
) -> Checked[Tree]:
    """What is wrong by itself is not told a second time as what does not fit."""
    tree, found = None, ErrorList()
    try:
        tree = read(found)
        wrong = {error.at for error in found.errors}
        for error in unfit(tree):
            if error.at not in wrong:
                found(error)
    except PMLError as error:
        found.errors.append(error)
    except EnoughErrors:
        pass
    return Checked(tree, tuple(as_diagnostics(found.errors, text, file)))


def as_diagnostics(errors: Iterable[PMLError], text: str | bytes, file: str) -> list[Diagnostic]:
    """The errors of one document in its order, each with its range in `text`."""
    lines = Lines(text, file)
    found = [
        Diagnostic(
            error.code,
            error.message,
            error.at,
            lines.end_of(error.at),
            suggestion=error.suggestion,
            related=error.related,
        )
        for error in errors
    ]
    return sorted(found, key=lambda one: (one.at is not None, one.at))


_EXTENT = re.compile(
    r"""</?[^\s<>/='"]+                                   # a tag's beginning
      | [^\s<>/='"&]+ \s*=\s* (?:"[^"<]*"|'[^'<]*')       # an attribute
      | &[^\s;<&]*;                                       # a reference
      | [^\s<&]+ | \S                                     # a word""",
    re.VERBOSE,
)


class Lines:
    """A document's text by places, for ranges and for showing the line of an error."""

    def __init__(self, text: str | bytes, file: str) -> None:
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self.file = file
        self.starts = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def line(self, number: int) -> str:
        """The line of that number, from 1; empty where there is none."""
        if number > len(self.starts):
            return ""
        start = self.starts[number - 1]
        return (
            self.text[start:].partition("\n")[0]
            if number == len(self.starts)
            else (self.text[start : self.starts[number] - 1])
        )

    def end_of(self, at: Location | None) -> Location | None:
        """The place after what begins at `at`: a tag's name, an attribute, a word."""
        if at is None or at.file != self.file or at.line > len(self.starts):
            return None
        start = self.starts[at.line - 1] + at.column - 1
        extent = _EXTENT.match(self.text, start)
        if extent is None:
            return at
        end = extent.end()
        line = bisect(self.starts, end)
        return Location(self.file, line, end - self.starts[line - 1] + 1)
