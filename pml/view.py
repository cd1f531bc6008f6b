"""The position ruler as text: where everything of a schema, or of a prompt, stands.

              at  tokens  0         100       200       300
                          ├─────────┼─────────┼─────────┼────
travel         0      81  ████────────────────────────████
  ╭ rome      40     190      ██████▒▒████████████████
  │   :days   91      20            ▒▒
  ╰ goa       40     120      ████████████░░░░░░░░░░░░
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from pml.layout import Layout
from pml.plan import PromptPlan
from pml.rows import PATTERNS, Mark, Ruler, prompt_rows, schema_rows

_TO_ASCII = str.maketrans("╌░─█▒▓├┼╭│╰╶…", "~.-#=*++/|\\>~")


def ruler(layout: Layout, width: int = 100) -> str:
    """The positions of a whole schema, at most `width` columns wide."""
    return _drawn(schema_rows(layout), width)


def prompt_ruler(layout: Layout, plan: PromptPlan, width: int = 100) -> str:
    """The positions of one prompt: what is reused, what is computed, and what stays empty."""
    return _drawn(prompt_rows(layout, plan), width)


def printable(text: str, encoding: str | None) -> str:
    """A drawing as it is, or in ASCII where `encoding` cannot show it.

    >>> printable("╭ rome ██░░", "ascii")
    '/ rome ##..'
    """
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_TO_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def _drawn(ruler: Ruler, width: int) -> str:
    rows, extent = ruler.rows, ruler.extent
    number = max(6, len(f"{extent:,}"))
    label = max(cell_len(row.label) for row in rows)
    label = min(label, max(16, width // 3))
    columns = max(20, width - label - 2 * number - 6)
    scale = _Scale(max(extent, 1), columns)
    margin = " " * (label + 2 * number + 6)
    numbers, axis = scale.lines()
    head = f"{'':{label}}  {'at':>{number}}  {'tokens':>{number}}  "
    lines = [head + numbers, margin + axis]
    for row in rows:
        tokens = "" if row.tokens is None else f"{row.tokens:,}"
        place = f"  {row.start:>{number},}  {tokens:>{number}}  "
        lines.append(_fitted(row.label, label) + place + scale.bar(row.marks))
    lines = [line.rstrip() for line in lines]
    legend = [f"{pattern} {words}".strip() for pattern, words in ruler.legend]
    return "\n".join([*lines, "", *_wrapped(legend, width)])


@dataclass(frozen=True)
class _Scale:
    """Positions [0, extent) over `columns` columns."""

    extent: int
    columns: int

    def column(self, position: int) -> int:
        return position * self.columns // self.extent

    def bar(self, marks: Iterable[Mark]) -> str:
        """A pattern takes every column that it reaches into, the later ones first."""
        painted = [" "] * self.columns
        for mark in sorted(marks, key=lambda mark: PATTERNS.index(mark.pattern)):
            if mark.start < mark.stop:
                first, end = self.column(mark.start), -(-mark.stop * self.columns // self.extent)
                painted[first:end] = mark.pattern * (end - first)
        return "".join(painted)

    def lines(self) -> tuple[str, str]:
        """The numbers, and below them an axis with a tick at the column of each."""
        step = round_step(self.extent * (len(f"{self.extent:,}") + 3) / self.columns)
        numbers, axis = [" "] * self.columns, ["─"] * self.columns
        for position in range(0, self.extent, step):
            column, text = self.column(position), f"{position:,}"
            if column + len(text) <= self.columns:
                numbers[column : column + len(text)] = text
            axis[column] = "┼" if position else "├"
        return "".join(numbers), "".join(axis)


def round_step(least: float) -> int:
    """1, 2 or 5 times a power of ten, at least so much: the distance of the axis' numbers.

    >>> round_step(130), round_step(0.3)
    (200, 1)
    """
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step >= least:
                return step
        power *= 10


def _fitted(text: str, width: int) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)


def _wrapped(parts: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for part in parts:
        if line and cell_len(line) + 3 + cell_len(part) > width:
            yield line
            line = ""
        line += ("   " if line else "") + part
    yield line
