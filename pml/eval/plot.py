"""Points and lines over a logarithmic axis as one SVG picture, in the manner of the ruler."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 460, 64, 130, 40, 52
COLOURS = ("#0072b2", "#d55e00", "#009e73")


@dataclass(frozen=True)
class Point:
    """At `x` > 0 the value `y` with its interval; drawn in one of `COLOURS`."""

    name: str
    x: float
    y: float
    low: float
    high: float
    colour: int = 0


@dataclass(frozen=True)
class Plot:
    """`percent` writes the values as percents; `lines` joins the points of a colour. The picture's
    description tells all points."""

    title: str
    x_axis: str
    points: Sequence[Point]
    percent: bool = False
    lines: bool = False

    def svg(self) -> str:
        told = "; ".join(f"{p.name} at {p.x:.3g}: {p.y:.3g}" for p in self.points)
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                'role="img" aria-labelledby="t d" font-size="12" '
                'font-family="ui-monospace, Menlo, Consolas, monospace">',
                f'<title id="t">{escape(self.title)}</title>',
                f'<desc id="d">{escape(told)}</desc>',
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
                _text(LEFT, 20, self.title, 'font-weight="bold"'),
                _text(WIDTH - RIGHT, HEIGHT - 10, self.x_axis, 'text-anchor="end"'),
                *self._grid(),
                *self._drawn(),
                "</svg>\n",
            ]
        )

    def _x(self, value: float) -> float:
        low, high = (math.log(f(p.x for p in self.points)) for f in (min, max))
        return LEFT + 10 + (WIDTH - LEFT - RIGHT - 10) * (math.log(value) - low) / (high - low or 1)

    def _y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / self._top)

    @property
    def _top(self) -> float:
        return 1.0 if self.percent else max(p.high for p in self.points) or 1.0

    def _grid(self) -> Iterator[str]:
        for step in range(6):
            value = self._top * step / 5
            y = self._y(value)
            yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e7eb"/>'
            shown = f"{value:.0%}" if self.percent else f"{value:.2g}"
            yield _text(LEFT - 8, y + 4, shown, 'text-anchor="end"')
        least, most = (f(p.x for p in self.points) for f in (min, max))
        for tick in (base * 10**power for power in range(5) for base in (1, 2, 5)):
            if least <= tick <= most:
                x = self._x(tick)
                yield f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e7eb"/>'
                yield _text(x, HEIGHT - BOTTOM + 16, f"{tick:,}", 'text-anchor="middle"')

    def _drawn(self) -> Iterator[str]:
        if self.lines:
            for one, other in pairwise(sorted(self.points, key=lambda p: (p.colour, p.x))):
                if one.colour == other.colour:
                    path = f"M{self._x(one.x):.1f} {self._y(one.y):.1f}"
                    path += f"L{self._x(other.x):.1f} {self._y(other.y):.1f}"
                    yield f'<path d="{path}" stroke="{COLOURS[one.colour]}"/>'
        for p in self.points:
            x, y = self._x(p.x), self._y(p.y)
            interval = f"M{x:.1f} {self._y(p.low):.1f}V{self._y(p.high):.1f}"
            yield f'<path d="{interval}" stroke="#9aa5b1"/>'
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[p.colour]}"/>'
            yield _text(x + 7, y - 5, p.name, 'fill="#1f2933"')


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
