"""Tables of measurements as text, in docs/performance.md, and the README's picture of growth."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pml.eval.plot import Plot, Point

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; its columns are the keys."""
    head = list(rows[0])
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    lines += [[shown(row[name]) for name in head] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(value: object) -> str:
    """Three digits, or whole numbers.

    >>> shown(1234.5), shown(0.12345), shown(40)
    ('1,234', '0.123', '40')
    """
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def with_tables(text: str, found: Mapping[str, Any]) -> str:
    """`text` with the table behind each line `<!-- NAME -->` made anew."""
    rows = {name: part["rows"] for name, part in found.items()}
    if "growth" in rows:
        rows["line"] = [fitted(rows["growth"])]

    def made(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- {name} -->\n{table(rows[name])}" if name in rows else match[0]

    return re.sub(r"<!-- (\w+) -->\n(?:\|.*\n)*", made, text)


def fitted(growth: Sequence[Row]) -> Row:
    """What the line through the table of growth is like."""
    slope, start, straight = line(growth, "first token, ms")
    least, _, _ = line(growth, "bytes / bandwidth, ms")
    return {
        "ms for 1,000 tokens": slope * 1e3,
        "of these to copy and read at best": least * 1e3,
        "ms for none": start,
        "R²": f"{straight:.4f}",
    }


def line(rows: Sequence[Row], key: str) -> tuple[float, float, float]:
    """The straight line of `key` against reused tokens: its slope, its value at none, and R²."""
    xs, ys = ([float(row[name]) for row in rows] for name in ("reused", key))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    slope /= sum((a - x) ** 2 for a in xs)
    start = y - slope * x
    left = sum((b - start - slope * a) ** 2 for a, b in zip(xs, ys, strict=True))
    return slope, start, 1 - left / sum((b - y) ** 2 for b in ys)


def picture(rows: Sequence[Row], facts: Row) -> str:
    """Time to the first token against reused tokens, with reuse and by full prefill."""
    points = []
    for colour, key in enumerate(("first token, ms", "full prefill, ms")):
        for row in rows:
            y = row[key] / 1e3
            points.append(Point(f"{y:.3g} s", float(row["reused"]), y, y, y, colour))
    title = f"Seconds to the first token: reused (blue), computed (red); {facts['dtype']}"
    return Plot(title, "tokens in modules, 32 more are new", points, lines=True).svg()


def write(root: Path, found: Mapping[str, Any]) -> None:
    path = root / "docs/performance.md"
    path.write_text(with_tables(path.read_text(encoding="utf-8"), found), encoding="utf-8")
    if "growth" in found:
        drawn = picture(found["growth"]["rows"], found["growth"]["machine"])
        (root / "docs/growth.svg").write_text(drawn, encoding="utf-8")
