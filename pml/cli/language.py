"""`pml check` and `pml map`: what can be said of documents without running a model. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from minillm.console import Failure, print_json
from minillm.flags import JsonFlag, VerboseFlag
from minillm.json_file import read_json
from minillm.tokenizer import load_tokenizer
from pml.check import prompt_errors
from pml.cli.documents import (
    INVALID,
    AttentionFlag,
    Document,
    LayoutFlag,
    ModelFlag,
    SchemaArgument,
    read_prompt,
    read_schema,
    tell,
)
from pml.cli.output import columns, show
from pml.errors import PMLError
from pml.layout import gaps, name_of
from pml.plan import PromptPlan
from pml.planner import Planner, check_options
from pml.schema import PromptModule, Schema, children_of, parameters_of, unions_of
from pml.view import prompt_ruler, ruler


def check(
    schema: SchemaArgument,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROMPT]...", help="Prompts: files, texts (<prompt …), or -."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="DIR", help="Count tokens too, as this model does."),
    ] = None,
    layout: LayoutFlag = None,
    attention: AttentionFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Find what is wrong with a schema and its prompts, each with file, line and column."""
    documents = [read_prompt(argument) for argument in prompts or ()]
    parsed, laid_out, found = None, None, 0
    try:
        parsed = read_schema(schema)
        laid_out = planner(parsed, model, attention, layout) if model else None
        print(f"{schema}: {_summary(parsed, laid_out)}")
    except PMLError as error:
        tell(error)
        found += 1
    for document in documents:
        errors = list(_errors(document, parsed, laid_out, layout))
        for wrong in errors:
            tell(wrong)
        found += len(errors)
        if parsed and not errors:
            print(f"{document.file}: fits")
    if found:
        raise typer.Exit(INVALID)


def draw_map(
    schema: SchemaArgument,
    model: ModelFlag,
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="Show this prompt's positions too.")
    ] = None,
    as_json: JsonFlag = False,
    layout: LayoutFlag = None,
    attention: AttentionFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Draw which positions a schema's modules take, and which a prompt uses."""
    laid_out = planner(read_schema(schema), model, attention, layout)
    plan = laid_out.plan(read_prompt(prompt).prompt()) if prompt else None
    if as_json:
        print_json(_as_json(laid_out, plan))
        return
    show(ruler(laid_out.layout, columns()))
    if plan is not None:
        print()
        show(prompt_ruler(laid_out.layout, plan, columns()))


def planner(schema: Schema, model: Path, attention: str | None, layout: str | None) -> Planner:
    """The schema laid out under a model's tokenizer, its weights left alone.

    Raises `PMLError`, `LoadError`, and `NotBuiltYet`.
    """
    check_options(schema, attention, layout)
    tokenizer, context = load_tokenizer(model), max_positions(model)
    return Planner.of(schema, tokenizer, context, attention=attention, layout=layout)


def max_positions(model: Path) -> int:
    path = model / "config.json"
    try:
        content: Any = read_json(path)
        return int(content["model"]["max_positions"])
    except (ValueError, TypeError, KeyError) as error:
        raise Failure(f"{path}: {error}") from None


def _errors(
    document: Document, schema: Schema | None, laid_out: Planner | None, layout: str | None
) -> Iterator[PMLError]:
    """All that is wrong with a prompt, as far as it can be told."""
    try:
        prompt = document.prompt()
        repeat = schema is not None and (layout or schema.layout) == "packed"
        found = list(prompt_errors(prompt, schema, repeat=repeat)) if schema else []
        yield from found
        if laid_out and not found:
            laid_out.plan(prompt)
    except PMLError as error:
        yield error


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


def _as_json(laid_out: Planner, plan: PromptPlan | None) -> dict[str, object]:
    layout = laid_out.layout
    content: dict[str, object] = {
        "schema": layout.schema.name,
        "layout": laid_out.positions,
        "attention": laid_out.attention,
        "length": layout.length,
        "regions": [
            {
                "kind": region.kind,
                "path": name_of(region.path, region.name if region.kind == "parameter" else None),
                "name": region.name,
                "depth": region.depth,
                "start": region.start,
                "length": region.length,
                "tokens": region.tokens,
            }
            for region in layout.regions
        ],
        "gaps": [{"start": start, "length": stop - start} for start, stop in gaps(layout)],
    }
    if plan is not None:
        content["prompt"] = {
            "spans": [
                {
                    "path": span.path,
                    "kind": span.kind,
                    "start": span.start,
                    "length": len(span.tokens),
                }
                for span in plan.spans
            ],
            "cached_tokens": plan.num_cached,
            "fresh_tokens": plan.num_fresh,
            "next_position": plan.next_position,
        }
    return content
