"""Tables of measured differences: printed, and with `PARITY_TABLE=docs/parity.md` written there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def head(columns: Sequence[str]) -> str:
    return f"{row(*columns)}\n|{'---|' * len(columns)}"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def show(head: str, rows: Iterable[str]) -> None:
    """Print a table; where `PARITY_TABLE` names a file, it takes the place of the one under the
    same head there."""
    written = "\n".join((head, *rows))
    print(f"\n{written}")
    if path := os.environ.get("PARITY_TABLE"):
        before, _, after = Path(path).read_text().partition(head)
        rest = after[after.index("\n\n") :] if "\n\n" in after else "\n"
        Path(path).write_text(before + written + rest)
