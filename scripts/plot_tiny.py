"""The curves of `losses.csv` of all tiny checkpoints, as a picture: `docs/training.svg`.

python scripts/plot_tiny.py > docs/training.svg
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

WEIGHTS = Path(__file__).parent.parent / "weights"
WIDTH, HEIGHT, LEFT, TOP = 720, 300, 40, 16
MOST = 4.0
COLOURS = {
    "tiny-llama": "#4269d0",
    "tiny-falcon": "#3ca951",
    "tiny-falcon-alibi": "#ff725c",
    "tiny-mpt": "#efb118",
}


def curves() -> Iterator[tuple[str, Sequence[tuple[int, float]]]]:
    """The steps and losses of linked answers of the ordinary checkpoints."""
    for name in COLOURS:
        path = WEIGHTS / name / "losses.csv"
        if path.is_file():
            with path.open(newline="") as file:
                rows = [(int(row["step"]), float(row["linked"])) for row in csv.DictReader(file)]
            yield name, rows


def main() -> None:
    found = dict(curves())
    last = max(rows[-1][0] for rows in found.values())

    def point(step: float, loss: float) -> str:
        x = LEFT + step / last * (WIDTH - LEFT - 8)
        return f"{x:.1f},{TOP + (1 - min(loss, MOST) / MOST) * HEIGHT:.1f}"

    parts = []
    for loss in range(int(MOST) + 1):
        x, y = point(0, loss).split(",")
        parts.append(f'<path d="M{x},{y}H{WIDTH - 8}" stroke="#8884"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{float(y) + 4}" text-anchor="end">{loss}</text>')
    for step in range(0, last + 1, 100):
        x = point(step, 0).split(",")[0]
        parts.append(f'<text x="{x}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{step}</text>')
    for line, (name, rows) in enumerate(found.items()):
        points = " ".join(point(*row) for row in rows)
        colour = COLOURS[name]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        y = TOP + 20 + 18 * line
        parts.append(
            f'<text x="{WIDTH - 16}" y="{y}" text-anchor="end" fill="{colour}">{name}</text>'
        )
    size = f'viewBox="0 0 {WIDTH} {TOP + HEIGHT + 28}"'
    print(f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif"', end=" ")
    print('font-size="12" fill="#888">', *parts, "</svg>", sep="\n")


if __name__ == "__main__":
    main()
