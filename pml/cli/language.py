"""`pml map`: what can be shown of documents without running a model. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from minillm.console import USAGE, Failure, print_json
from minillm.flags import JsonFlag, VerboseFlag
from minillm.json_file import read_json
from minillm.tokenizer import load_tokenizer
from pml.cli.documents import (
    AttentionFlag,
    LayoutFlag,
    ModelFlag,
    SchemaArgument,
    read_prompt,
    read_schema,
)
from pml.cli.output import columns, show
from pml.layout import name_of
from pml.lint import middle_slope
from pml.plan import PromptPlan
from pml.planner import Planner, check_options
from pml.rows import prompt_rows, schema_rows
from pml.schema import Schema
from pml.svg import svg
from pml.view import prompt_ruler, ruler


def draw_map(
    schema: SchemaArgument,
    model: ModelFlag,
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="Show this prompt's positions too.")
    ] = None,
    as_json: JsonFlag = False,
    as_svg: Annotated[bool, typer.Option("--svg", help="A picture, alone on stdout.")] = False,
    layout: LayoutFlag = None,
    attention: AttentionFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Draw which positions a schema's modules take, and which a prompt uses."""
    if as_json and as_svg:
        raise Failure("--json and --svg are two forms; give one of them", USAGE)
    laid_out = planner(read_schema(schema), model, attention, layout)
    plan = laid_out.plan(read_prompt(prompt).prompt()) if prompt else None
    if as_json:
        print_json(_as_json(laid_out, plan))
        return
    if as_svg:
        rulers = [schema_rows(laid_out.layout)]
        print(svg([*rulers, prompt_rows(laid_out.layout, plan)] if plan else rulers), end="")
        return
    show(ruler(laid_out.layout, columns()))
    if plan is not None:
        print()
        show(prompt_ruler(laid_out.layout, plan, columns()))


def planner(schema: Schema, model: Path, attention: str | None, layout: str | None) -> Planner:
    """The schema laid out under a model's tokenizer, its weights left alone.

    Raises `PMLError` and `LoadError`.
    """
    check_options(schema, attention, layout)
    tokenizer, context = load_tokenizer(model), max_positions(model)
    return Planner.of(schema, tokenizer, context, attention=attention, layout=layout)


def alibi_slope(model: Path) -> float | None:
    """ALiBi's slope in the model's middle head; None if it knows positions otherwise."""
    shape = _shape(model)
    if shape.get("position_scheme") != "alibi":
        return None
    return middle_slope(float(shape.get("alibi_max_bias", 8.0)))


def max_positions(model: Path) -> int:
    """The model's context, in tokens."""
    return int(_shape(model)["max_positions"])


def _shape(model: Path) -> dict[str, Any]:
    """The model's fields in `config.json`, read without the runtime."""
    path = model / "config.json"
    try:
        content: Any = read_json(path)
        int(content["model"]["max_positions"])
        return dict(content["model"])
    except (ValueError, TypeError, KeyError) as error:
        raise Failure(f"{path}: {error}") from None


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
