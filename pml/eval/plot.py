"""Quality against speed as one SVG picture, in the manner of the position ruler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 460, 60, 120, 40, 50


@dataclass(frozen=True)
class Point:
    """`score` from 0 to 1 with its interval, and how many times sooner the first token comes."""

    name: str
    speedup: float
    score: float
    low: float
    high: float


def plot(title: str, points: Sequence[Point]) -> str:
    """The points over a logarithmic axis of speed; the picture's description tells them too."""
    most = max(2.0, *(point.speedup for point in points))

    def x(speedup: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(max(speedup, 0.9) / 0.9) / math.log(
            most / 0.9
        )

    def y(score: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)

    told = "; ".join(f"{p.name}: {p.score:.0%}, {p.speedup:.1f} times sooner" for p in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="t d" font-family="ui-monospace, Menlo, Consolas, monospace" '
        'font-size="12">',
        f'<title id="t">{escape(title)}</title>',
        f'<desc id="d">{escape(told)}</desc>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 20, title, 'font-weight="bold"'),
        _text(
            WIDTH - RIGHT,
            HEIGHT - 12,
            "first token, times sooner than full prefill",
            'text-anchor="end" fill="#52606d"',
        ),
    ]
    for percent in range(0, 101, 20):
        at = y(percent / 100)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e4e7eb"/>')
        parts.append(_text(LEFT - 8, at + 4, f"{percent} %", 'text-anchor="end" fill="#52606d"'))
    for tick in (1, 2, 5, 10, 20, 50, 100, 200):
        if tick <= most:
            parts.append(f'<path d="M{x(tick):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e7eb"/>')
            parts.append(
                _text(
                    x(tick), HEIGHT - BOTTOM + 16, str(tick), 'text-anchor="middle" fill="#52606d"'
                )
            )
    for point in points:
        at, fill = x(point.speedup), "#d55e00" if point.name in QUALITIES else "#0072b2"
        parts.append(
            f'<path d="M{at:.1f} {y(point.low):.1f}V{y(point.high):.1f}" stroke="#9aa5b1"/>'
        )
        parts.append(f'<circle cx="{at:.1f}" cy="{y(point.score):.1f}" r="4" fill="{fill}"/>')
        parts.append(_text(at + 7, y(point.score) - 5, point.name))
    return "\n".join([*parts, "</svg>\n"])


QUALITIES = ("full", "fast", "balanced", "exact")


def _text(x: float, y: float, text: str, attributes: str = 'fill="#1f2933"') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
