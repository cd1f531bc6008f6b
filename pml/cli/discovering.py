"""`pml discover`: from a log of prompts to a schema. No torch."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from minillm.console import USAGE, Bar, Failure, note, print_json, waiting
from minillm.flags import JsonFlag, VerboseFlag
from minillm.tokenizer import load_tokenizer
from pml.discover import (
    Report,
    Rewriter,
    Tally,
    estimated_tokens,
    flatten,
    propose,
    read_lines,
    read_log,
)
from pml.discover.patterns import Count
from pml.errors import Location, PMLError
from pml.nodes import Prompt
from pml.writer import unchecked_prompt, write_schema

SHOWN = 20
"""Modules in the table; `--json` has all."""

STDIN = Path("<stdin>")


@dataclass(frozen=True)
class Entry:
    """A prompt of the log; `flat` is None where a character of it cannot stand in PML."""

    line: int
    flat: str | None
    error: str = ""


def discover(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="JSON lines: prompts or chats; - for stdin.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="SCHEMA", help="Where the schema goes.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="OUT", help="Rewritten prompts: a .jsonl, or a folder."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The schema's; default: that of the log.")
    ] = None,
    min_uses: Annotated[
        int, typer.Option("--min-uses", min=2, metavar="N", help="Prompts that share a module.")
    ] = 5,
    min_tokens: Annotated[
        int, typer.Option("--min-tokens", min=1, metavar="N", help="Of a module.")
    ] = 16,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="DIR", help="Count tokens as this model does."),
    ] = None,
    as_json: JsonFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Propose a schema for what the prompts of a log share, and rewrite them against it."""
    for written in filter(None, (output, prompts)):
        if written.exists() and log.exists() and written.samefile(log):
            raise Failure(f"{written}: this is the log; write to another file", USAGE)
    count = _counter(model)
    if str(log) == "-":
        log, requests = STDIN, read_lines(sys.stdin.buffer, str(STDIN))
    else:
        requests = read_log(log)
    entries = [_entry(log, line, turns) for line, turns in requests]
    if not entries:
        raise Failure(f"{log}: no prompts; expected one a line")
    with waiting("looking for what the prompts share"):
        texts = [entry.flat for entry in entries if entry.flat is not None]
        schema = propose(
            texts,
            name=name or re.sub(r"\W+", "-", log.stem).strip("-") or "log",
            least_uses=min_uses,
            least_tokens=min_tokens,
            count=count,
        )
    output.write_text(write_schema(schema), encoding="utf-8", newline="")
    rewriter = Rewriter(schema, count)
    tally = Tally(rewriter, count)
    _write(_rewritten(entries, rewriter, tally), prompts)
    report = tally.report()
    left_out = [entry for entry in entries if entry.flat is None]
    for entry in left_out[:3]:
        note(entry.error)
    if len(left_out) > 3:
        note(f"{log}: {len(left_out) - 3} more prompts with such characters; all are left out")
    if as_json:
        print_json(_as_json(report, left_out, estimated=model is None))
    else:
        print(_table(report, output, estimated=model is None))


def _counter(model: Path | None) -> Count:
    if model is None:
        return estimated_tokens
    tokenizer = load_tokenizer(model)
    return lambda text: len(tokenizer.encode(text))


def _entry(log: Path, line: int, turns: Any) -> Entry:
    try:
        return Entry(line, flatten(turns))
    except PMLError as error:
        return Entry(line, None, f"{Location(str(log), line, 1)}: {error.message}")


def _rewritten(
    entries: list[Entry], rewriter: Rewriter, tally: Tally
) -> Iterator[tuple[Entry, Prompt | None]]:
    with Bar("rewriting", len(entries)) as bar:
        for entry in entries:
            if entry.flat is None:
                yield entry, None
            else:
                prompt = rewriter.rewrite_flat(entry.flat)
                tally.add(prompt)
                yield entry, prompt
            bar.advance(1)


def _write(rewritten: Iterable[tuple[Entry, Prompt | None]], to: Path | None) -> None:
    """As JSON lines, one for each of the log's, or as files named by their lines' numbers."""
    if to is None:
        for _ in rewritten:
            pass
    elif to.suffix == ".jsonl":
        with to.open("w", encoding="utf-8") as file:
            for entry, prompt in rewritten:
                content = {"line": entry.line, "prompt": None, "error": entry.error}
                if prompt is not None:
                    text = unchecked_prompt(prompt).rstrip("\n")
                    content = {"line": entry.line, "prompt": text}
                file.write(json.dumps(content) + "\n")
    else:
        to.mkdir(parents=True, exist_ok=True)
        for entry, prompt in rewritten:
            if prompt is not None:
                path = to / f"{entry.line:06}.pml"
                path.write_text(unchecked_prompt(prompt), encoding="utf-8", newline="")


def _as_json(report: Report, left_out: list[Entry], *, estimated: bool) -> dict[str, Any]:
    return {
        "layout": report.layout,
        "prompts": report.prompts,
        "reused_tokens": report.reused,
        "fresh_tokens": report.fresh,
        "reused_share": report.share,
        "estimated": estimated,
        "modules": [asdict(module) for module in report.modules],
        "left_out": [{"line": entry.line, "error": entry.error} for entry in left_out],
    }


def _table(report: Report, output: Path, *, estimated: bool) -> str:
    unions = {module.union for module in report.modules} - {None}
    parameters = sum(module.parameters for module in report.modules)
    tokens = report.reused + report.fresh
    about = "about " if estimated else ""
    lines = [
        f"{output}: {len(report.modules):,} modules, {len(unions):,} unions, "
        f"{parameters:,} parameters; layout {report.layout}",
        f"{report.prompts:,} prompts of {about}{tokens:,} tokens: {report.share:.1%} reused"
        + (" (an estimate; --model counts as a model does)" if estimated else ""),
        "",
        f"{'prompts':>9} {'tokens':>8}  module",
    ]
    shown = report.modules[:SHOWN]
    lines += [f"{module.prompts:9,} {module.tokens:8,}  {module.name}" for module in shown]
    rest = len(report.modules) - len(shown)
    return "\n".join(lines + ([f"{'':18}  and {rest:,} more"] if rest else []))
