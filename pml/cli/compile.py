"""`pml compile`: a prompt function to its schema, arguments to its prompt. Nothing is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from minillm.console import USAGE, Failure
from pml.program import read_program
from pml.writer import write_prompt


def compile_program(
    program: Annotated[
        str,
        typer.Argument(metavar="FILE.py:FUNCTION", help="A function under @prompt_program."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="SCHEMA", help="Write the schema to this file."),
    ] = None,
    arguments: Annotated[
        str | None,
        typer.Option(
            "--arguments", "-a", metavar="JSON", help="Print the prompt for these, by name."
        ),
    ] = None,
) -> None:
    """Compile a Python function to a schema, or a call of it to a prompt. The file is not run."""
    path, colon, name = program.rpartition(":")
    if not colon:
        raise Failure(f"{program}: expected FILE.py:FUNCTION", USAGE)
    compiled = read_program(Path(path), name)
    schema = compiled.pml
    if output is not None:
        output.write_text(schema, encoding="utf-8", newline="\n")
    if arguments is not None:
        try:
            print(write_prompt(compiled(**_arguments(arguments))), end="")
        except TypeError as error:
            raise Failure(f"--arguments for {name}: {error}", USAGE) from None
    elif output is None:
        print(schema, end="")


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(f"--arguments: no JSON: {error}", USAGE) from None
    if not isinstance(found, dict):
        raise Failure('--arguments: expected an object, as in {"city": "Rome"}', USAGE)
    return found
