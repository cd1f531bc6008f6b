"""The tables of a page, from the JSON that the commands printed.

A table stands behind the line `<!-- NAME -->` of its page and is made of the file `NAME.json`; the
tests hold the two equal.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pml.eval import gaps, summary


def table(found: dict[str, Any]) -> str:
    """What `pml eval --markdown` and `pml gaps --markdown` print for this JSON."""
    if found["rows"] and "gap" in found["rows"][0]:
        of_gaps = [gaps.GapRow.of(row) for row in found["rows"]]
        return summary.markdown_table(gaps.HEAD, [gaps.cells(row) for row in of_gaps])
    rows = [summary.Row.of(row) for row in found["rows"]]
    return summary.markdown_table(summary.HEAD, [summary.cells(row) for row in rows])


def with_tables(page: str, folder: Path) -> str:
    """`page` with each of its tables made anew; a table without a file stays as it is."""

    def made(match: re.Match[str]) -> str:
        path = folder / f"{match[1]}.json"
        if not path.exists():
            return match[0]
        return f"<!-- {match[1]} -->\n{table(json.loads(path.read_text(encoding='utf-8')))}"

    return re.sub(r"<!-- ([\w-]+) -->\n(?:\|.*\n)*", made, page)
