"""What is shown of an evaluation, from the JSON that its command printed: tables and pictures.

A table stands behind the line `<!-- NAME -->` of its page and is made of the file `NAME.json`; the
picture `results-NAME.svg` is too. The tests hold them equal.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pml.eval import gaps, summary

Found = dict[str, Any]
"""What `pml eval --json` or `pml gaps --json` prints."""


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


def picture(found: Found) -> str:
    """As SVG."""
    if _is_of_gaps(found):
        return gaps.drawn(title(found), [gaps.GapRow.of(row) for row in found["rows"]])
    return summary.drawn(title(found), [summary.Row.of(row) for row in found["rows"]])


def _is_of_gaps(found: Found) -> bool:
    return "gap" in found["rows"][0]


def with_tables(page: str, folder: Path) -> str:
    """`page` with each of its tables made anew; a table without a file stays as it is."""

    def made(match: re.Match[str]) -> str:
        path = folder / f"{match[1]}.json"
        if not path.exists():
            return match[0]
        return f"<!-- {match[1]} -->\n{table(json.loads(path.read_text(encoding='utf-8')))}"

    return re.sub(r"<!-- ([\w-]+) -->\n(?:\|.*\n)*", made, page)
