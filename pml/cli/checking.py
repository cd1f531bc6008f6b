"""`pml check`: all that is wrong with schemas and prompts, for people and programs. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from minillm.console import FAILED, USAGE, Failure, print_json
from minillm.flags import JsonFlag, VerboseFlag
from pml.check import unknown_schema
from pml.cli.documents import INVALID, AttentionFlag, Document, LayoutFlag, read_document, tell
from pml.cli.language import alibi_slope, planner
from pml.diagnostics import Diagnostic, Lines, as_diagnostics, diagnose_prompt, diagnose_schema
from pml.errors import Location, PMLError, listed
from pml.lint import lint
from pml.nodes import Prompt, PromptModule, Schema, children_of, parameters_of, unions_of
from pml.planner import Planner
from pml.rule_table import WARNINGS
from pml.sarif import sarif


def _known_rules(names: list[str]) -> list[str]:
    for name in names:
        if name not in WARNINGS:
            raise typer.BadParameter(f"{name!r} is no warning; expected {listed(WARNINGS)}")
    return names


def check(
    documents: Annotated[
        list[str],
        typer.Argument(
            metavar="SCHEMA [PROMPT]...",
            help="Files, texts (<prompt …), or -; a prompt goes with the schema that it names.",
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="DIR", help="Count tokens too, as this model does."),
    ] = None,
    layout: LayoutFlag = None,
    attention: AttentionFlag = None,
    ignore: Annotated[
        list[str],
        typer.Option("--ignore", metavar="RULE", help="Leave out.", callback=_known_rules),
    ] = [],  # noqa: B006 (typer copies it)
    all_prompts: Annotated[
        bool,
        typer.Option("--all-prompts", help="There are no others: warn of what none of them uses."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there is a warning.")] = False,
    excerpts: Annotated[
        bool | None,
        typer.Option("--excerpts/--no-excerpts", help="Show the lines; default: on a terminal."),
    ] = None,
    as_json: JsonFlag = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="SARIF 2.1.0 on stdout.")] = False,
    verbose: VerboseFlag = False,
) -> None:
    """Find what is wrong with schemas and their prompts, each with file, line and column."""
    if as_json and as_sarif:
        raise Failure("--json and --sarif are two forms; give one of them", USAGE)
    checking = _Checking(model, layout, attention, all_prompts)
    checking.read([read_document(argument) for argument in documents])
    found = [one for one in checking.found() if one.code not in ignore]
    if as_sarif:
        print_json(sarif(found))
    elif as_json:
        print_json(_as_json(checking, found))
    else:
        for line in checking.summaries():
            print(line)
        for one in found:
            tell(one, excerpts)
    severities = {one.severity for one in found}
    if "error" in severities:
        raise typer.Exit(INVALID)
    if strict and severities:
        raise typer.Exit(FAILED)


@dataclass
class _Checked:
    """One document: what it is, its tree if it is right, and what is to say about it."""

    document: Document
    lines: Lines
    tree: Schema | Prompt | None = None
    found: list[Diagnostic] = field(default_factory=list)
    planner: Planner | None = None
    prompts: list[Prompt] = field(default_factory=list)
    """Those that fit, if this is a schema."""

    def add(self, errors: Iterable[PMLError]) -> None:
        self.found += as_diagnostics(errors, self.document.data, self.document.file)


@dataclass
class _Checking:
    model: Path | None
    layout: str | None
    attention: str | None
    all_prompts: bool
    schemas: list[_Checked] = field(default_factory=list)
    prompts: list[_Checked] = field(default_factory=list)

    def read(self, documents: Sequence[Document]) -> None:
        for number, document in enumerate(documents):
            is_schema = _is_schema(document, number == 0)
            (self.schemas if is_schema else self.prompts).append(
                _Checked(document, Lines(document.data, document.file))
            )
        for one in self.schemas:
            self.schema(one)
        for one in self.prompts:
            self.prompt(one)

    def schema(self, one: _Checked) -> None:
        document = one.document
        checked = diagnose_schema(document.data, document.file, src_root=document.folder)
        one.found += checked.diagnostics
        if checked.has_errors or checked.tree is None:
            return
        try:
            if self.model is not None:
                one.planner = planner(checked.tree, self.model, self.attention, self.layout)
            one.tree = checked.tree
        except PMLError as error:
            one.add([error])

    def prompt(self, one: _Checked) -> None:
        document = one.document
        checked = diagnose_prompt(document.data, document.file)
        of = self.schema_of(checked.tree) if checked.tree else None
        schema = of.tree if of else None
        if isinstance(schema, Schema):
            repeat = (self.layout or schema.layout) == "packed"
            checked = diagnose_prompt(document.data, document.file, schema, repeat=repeat)
        one.found += checked.diagnostics
        if checked.has_errors or checked.tree is None:
            return
        names = [each.tree.name for each in self.schemas if isinstance(each.tree, Schema)]
        if of is None and names and len(names) == len(self.schemas):
            one.add([unknown_schema(checked.tree.schema, names, checked.tree.at)])
            return
        one.tree = checked.tree
        if of is None or schema is None:
            return
        try:
            if of.planner is not None:
                of.planner.plan(checked.tree)
            of.prompts.append(checked.tree)
        except PMLError as error:
            one.add([error])
            one.tree = None

    def schema_of(self, prompt: Prompt) -> _Checked | None:
        """The schema that the prompt names; where one only is given, that one."""
        if len(self.schemas) == 1:
            return self.schemas[0]
        named = (one for one in self.schemas if one.tree and _name(one.tree) == prompt.schema)
        return next(named, None)

    def found(self) -> Iterator[Diagnostic]:
        """Document by document, errors and warnings in their order."""
        every = [*self.schemas, *self.prompts]
        homes = {one.document.file: one for one in reversed(every)}
        for schema in self.schemas:
            for warning in self.warnings(schema):
                home = homes.get(warning.at.file if warning.at else "", schema)
                home.found.append(replace(warning, end=home.lines.end_of(warning.at)))
        for one in every:
            yield from sorted(one.found, key=lambda found: found.at or Location("", 0, 0))

    def warnings(self, one: _Checked) -> Iterator[Diagnostic]:
        if isinstance(one.tree, Schema):
            slope = alibi_slope(self.model) if self.model else None
            complete = self.all_prompts and all(prompt.tree for prompt in self.prompts)
            yield from lint(one.tree, one.prompts, one.planner, slope, complete=complete)

    def summaries(self) -> Iterator[str]:
        for one in self.schemas:
            if isinstance(one.tree, Schema):
                yield f"{one.document.file}: {_summary(one.tree, one.planner)}"
        for one in self.prompts:
            if isinstance(one.tree, Prompt):
                of = self.schema_of(one.tree)
                if of is None or of.tree is not None:
                    yield f"{one.document.file}: {'fits' if of else 'no schema given'}"


_ROOT = re.compile(rb"<(?![!?])\s*([^\s/>]*)")


def _is_schema(document: Document, is_first: bool) -> bool:
    """By its root tag, and where that is neither, the first document is the schema."""
    root = _ROOT.search(document.data)
    name = root[1] if root else b""
    return name == b"schema" or (name != b"prompt" and is_first)


def _name(tree: Schema | Prompt) -> str:
    return tree.name if isinstance(tree, Schema) else tree.schema


def _summary(schema: Schema, laid_out: Planner | None) -> str:
    owners = list(_owners(schema))
    parts = [
        _counted(len(owners) - 1, "module"),
        _counted(sum(len(unions_of(owner)) for owner in owners), "union"),
        _counted(sum(len(parameters_of(owner)) for owner in owners), "parameter"),
    ]
    if laid_out is not None:
        parts.append(_counted(laid_out.layout.length, "position"))
    return ", ".join(part for part in parts if part) or "text only"


def _owners(owner: Schema | PromptModule) -> Iterator[Schema | PromptModule]:
    yield owner
    for module in children_of(owner).values():
        yield from _owners(module)


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}" if number else ""


def _as_json(checking: _Checking, found: Sequence[Diagnostic]) -> dict[str, object]:
    severities = [one.severity for one in found]
    every = [("schema", one) for one in checking.schemas]
    every += [("prompt", one) for one in checking.prompts]
    return {
        "errors": severities.count("error"),
        "warnings": severities.count("warning"),
        "documents": [
            {
                "file": one.document.file,
                "kind": kind,
                "schema": _name(one.tree) if one.tree else None,
                "ok": one.tree is not None,
            }
            for kind, one in every
        ],
        "diagnostics": [asdict(one) for one in found],
    }
