"""`pml lsp` and `pml language`: what editors need. No torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from minillm.console import FAILED, Failure, note, print_json
from minillm.flags import JsonFlag, VerboseFlag
from minillm.tokenizer import load_tokenizer
from pml.cli.language import alibi_slope, max_positions
from pml.description import PROMPT, SCHEMA, as_json
from pml.lsp.project import Model


def lsp(
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="DIR", envvar="PML_MODEL", help="Show tokens and positions too."
        ),
    ] = None,
    verbose: VerboseFlag = False,
) -> None:
    """Serve an editor: diagnostics, hover, completion, definitions, outline."""
    try:
        from pml.lsp.server import serve
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("pygls", "lsprotocol"):
            raise
        advice = "in the project's folder, pip install -e '.[editor]'"
        raise Failure(f"the language server needs the package {package}: {advice}") from None
    known = _read(model) if model else None
    if sys.stdin.isatty():
        note("this speaks the Language Server Protocol: an editor starts it (docs/editors.md)")
    if not serve(known):
        raise typer.Exit(FAILED)


def _read(model: Path) -> Model:
    return Model(load_tokenizer(model), max_positions(model), alibi_slope(model))


def language(as_json_: JsonFlag = False) -> None:
    """Describe the language: its tags, attributes, values and rules."""
    if as_json_:
        print_json(as_json())
        return
    for title, tags in (("in a schema", SCHEMA), ("in a prompt", PROMPT)):
        print(f"{title}:")
        for name, tag in tags.items():
            print(f"  <{' '.join((name, *tag.attributes))}>\n      {tag.doc}")
