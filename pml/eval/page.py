"""What is shown of an evaluation, from the JSON that its command printed: tables and pictures.

A table stands behind the line `<!-- NAME -->` of its page and is made of the file `NAME.json`; the
picture `results-NAME.svg` is too. Behind `<!-- NAME NAME … -->` stands one line of each, with what
the qualities gave. The tests hold them equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pml.eval import gaps, summary

Found = dict[str, Any]
"""What `pml eval --json` or `pml gaps --json` prints."""

OVERVIEW = (
    "task",
    "model",
    "questions",
    "score: full",
    "fast",
    "balanced",
    "log p: full",
    "fast",
    "balanced",
    "KL: fast",
    "balanced",
)


def title(found: Found) -> str:
    told, rows = found["settings"], found["rows"]
    if _is_of_gaps(found):
        return "gaps, {model_name}, {positions}, {dtype}: {task}".format(**told)
    of = "{task}, {model_name}, {dtype}: {count} questions, {documents} documents each"
    return of.format(**told, count=rows[0]["items"])


def cells(found: Found) -> list[tuple[str, ...]]:
    """The table's lines, its head first."""
    if _is_of_gaps(found):
        return [gaps.HEAD, *(gaps.cells(gaps.GapRow.of(row)) for row in found["rows"])]
    return [summary.HEAD, *(summary.cells(summary.Row.of(row)) for row in found["rows"])]


def table(found: Found) -> str:
    """In Markdown."""
    head, *rows = cells(found)
    return summary.markdown_table(head, rows)


def overview(founds: Sequence[Found]) -> str:
    """In Markdown, a line for each."""
    return summary.markdown_table(OVERVIEW, [_line(found) for found in founds])


def _line(found: Found) -> tuple[str, ...]:
    rows = {row["mode"]: summary.Row.of(row) for row in found["rows"]}
    full, fast, balanced = asked = [rows[name] for name in ("full", "fast", "balanced")]
    return (
        found["settings"]["task"],
        found["settings"]["model_name"],
        f"{full.items}",
        *(f"{100 * row.score.mean:.0f}" for row in asked),
        *(f"{row.log_likelihood.mean:.2f}" for row in asked),
        *(f"{row.kl.mean:.3f}" for row in (fast, balanced)),
    )


def picture(found: Found) -> str:
    """As SVG."""
    if _is_of_gaps(found):
        return gaps.drawn(title(found), [gaps.GapRow.of(row) for row in found["rows"]])
    return summary.drawn(title(found), [summary.Row.of(row) for row in found["rows"]])


def _is_of_gaps(found: Found) -> bool:
    return "gap" in found["rows"][0]


def with_tables(page: str, folder: Path) -> str:
    """`page` with each of its tables made anew; a table without its files stays as it is."""

    def made(match: re.Match[str]) -> str:
        names = match[1].split()
        paths = [folder / f"{name}.json" for name in names]
        if not all(path.exists() for path in paths):
            return match[0]
        founds = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        lines = table(*founds) if len(founds) == 1 else overview(founds)
        return f"<!-- {match[1]} -->\n{lines}"

    return re.sub(r"<!-- ([\w -]+?) -->\n(?:\|.*\n)*", made, page)
