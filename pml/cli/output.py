"""What the commands print for people: rulers in colour, tables, texts side by side."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from minillm.console import amount, duration
from pml.rows import FRESH, GAP, INSIDE, LEFT_OUT, SLOT, TEXT
from pml.view import printable

if TYPE_CHECKING:
    from pml.compare import Comparison

_STYLES = {TEXT: "cyan", SLOT: "magenta", FRESH: "bold yellow"}
_STYLES |= dict.fromkeys((GAP, INSIDE, LEFT_OUT), "dim")


def columns() -> int:
    """How wide a drawing may be."""
    return min(160, max(60, shutil.get_terminal_size((100, 24)).columns))


def show(ruler: str) -> None:
    """A ruler on stdout, coloured on a terminal, in ASCII where nothing else can be shown."""
    ruler = printable(ruler, sys.stdout.encoding)
    if not sys.stdout.isatty():
        print(ruler)
        return
    text = Text(ruler)
    for pattern, style in _STYLES.items():
        text.highlight_regex(f"{pattern}+", style)
    Console().print(text, soft_wrap=True)


def side_by_side(left: str, right: str, width: int) -> str:
    """Two texts in columns of equal width."""
    each = (width - 3) // 2
    pairs = zip_longest(_lines(left, each), _lines(right, each), fillvalue="")
    return "\n".join(f"{a:{each}} | {b}".rstrip() for a, b in pairs)


def _lines(text: str, width: int) -> list[str]:
    return [line for part in text.splitlines() for line in textwrap.wrap(part, width) or [""]] or [
        ""
    ]


def span_table(explained: dict[str, Any]) -> str:
    """The spans of `pml.explain.explain`, a line each; without `moved` where nothing is."""
    head = ("span", "kind", "state", "start", "tokens", "moved", "size", "encoded as", "path")
    rows = [(*head, "sees the spans", "why missing, where stored")]
    for span in explained["spans"]:
        everything = span["kind"] == "fresh"
        seen = "all but ghosts" if everything else _ranges(span["context"]) or "itself only"
        state = "" if span["state"] == "none" else span["state"]
        moved = f"{span['moved']:+,}" if span["moved"] else ""
        size = amount(span["bytes"]) if span["bytes"] is not None else ""
        numbers = (f"{span['start']:,}", f"{span['length']:,}", moved, size)
        names = (span["context_kind"] or "", span["path"])
        rows.append((str(span["index"]), span["kind"], state, *numbers, *names, seen, _where(span)))
    if any(span["moved"] for span in explained["spans"]):
        return aligned(rows, right=(0, 3, 4, 5, 6))
    return aligned([(*row[:5], *row[6:]) for row in rows], right=(0, 3, 4, 5))


def _where(span: dict[str, Any]) -> str:
    """The reason of a miss; of a hit where it lies, and what it took."""
    if span["state"] != "hit":
        return span["reason"] or ""
    took = "" if span["encode_s"] is None else f", encoded in {duration(span['encode_s'])}"
    return f"{span['tier']}{took}"


def _ranges(numbers: Sequence[int]) -> str:
    """
    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0-2 5 7-8'
    """
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return " ".join(f"{g[0]}-{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)


def comparison_table(found: Comparison, width: int) -> str:
    """One prompt both ways: numbers in a table, then the answers side by side."""
    full, cached = found.full, found.cached
    times = (full.ttft, cached.ttft, cached.kept_ttft)
    rows = [
        ("", "full prefill", "cached", "kept in the buffer"),
        ("first token after", *(duration(seconds) for seconds in times)),
        ("times sooner", "", *(f"{full.ttft / seconds:.3g}" for seconds in times[1:])),
        ("tokens computed", *(f"{n:,}" for n in (full.tokens, *2 * [cached.fresh_tokens]))),
        ("tokens reused", "0", *2 * (f"{cached.cached_tokens:,}",)),
        ("tokens copied", "0", f"{cached.copied_tokens:,}", "0"),
    ]
    distance, spread = found.oracle.max_abs_diff, found.oracle.logit_range
    same = f"the same for the first {found.agreement} of {len(full.answer)} tokens"
    if full.answer == cached.answer:
        same = f"the same, all {len(full.answer)} tokens"
    each = (width - 3) // 2
    return "\n".join(
        [
            aligned(rows, right=(1, 2, 3)),
            "",
            f"cached logits and oracle's: {distance:.2g} apart at most, in a range of {spread:.3g}",
            f"answers: {same}",
            "",
            f"{'full prefill':{each}} | cached",
            f"{'-' * each}-+-{'-' * each}",
            side_by_side(full.text, cached.text, width),
        ]
    )


def aligned(rows: Sequence[Sequence[str]], right: tuple[int, ...]) -> str:
    """Columns two blanks apart, those in `right` aligned to the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def cell(index: int, text: str) -> str:
        blanks = " " * (widths[index] - cell_len(text))
        return blanks + text if index in right else text + blanks

    return "\n".join("  ".join(cell(*entry) for entry in enumerate(row)).rstrip() for row in rows)
