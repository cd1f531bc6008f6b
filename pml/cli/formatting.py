"""`pml fmt`: documents in their canonical form. No torch."""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer

from minillm.console import FAILED, note
from minillm.flags import VerboseFlag
from pml.cli.documents import INVALID, Document, read_document, tell
from pml.errors import PMLError
from pml.formatting import format_document


def fmt(
    documents: Annotated[
        list[str], typer.Argument(metavar="DOCUMENT...", help="Schemas and prompts; - is stdin.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if something would change.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing; show what would change, and exit 1.")
    ] = False,
    verbose: VerboseFlag = False,
) -> None:
    """Bring documents into their canonical form: in place, or from stdin to stdout.

    Only the white space that means nothing and the spelling of tags change; comments stay.
    """
    code = 0
    for document in map(read_document, documents):
        try:
            formatted = format_document(document.data, document.file)
        except PMLError as error:
            tell(error)
            code = INVALID
            continue
        written = document.data.decode()
        if formatted != written and (check or diff):
            code = code or FAILED
            note(f"{document.file}: would change")
            if diff:
                print(_difference(document.file, written, formatted), end="")
        elif not (check or diff):
            _write(document, formatted)
    if code:
        raise typer.Exit(code)


def _write(document: Document, formatted: str) -> None:
    if document.folder is None:
        sys.stdout.write(formatted)
    elif document.data != formatted.encode():
        Path(document.file).write_bytes(formatted.encode())
        note(f"{document.file}: formatted")


def _difference(file: str, written: str, formatted: str) -> str:
    lines = written.splitlines(keepends=True), formatted.splitlines(keepends=True)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in unified_diff(*lines, file, f"{file} (formatted)")
    )
