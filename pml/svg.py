"""The position ruler as one SVG picture, for pages and slides; no fonts or scripts of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from pml.rows import FRESH, GAP, INSIDE, LEFT_OUT, PATTERNS, SLOT, TEXT, Ruler
from pml.view import round_step

WIDTH, LINE, MARGIN = 900, 20, 16
_LABEL, _NUMBER, _LETTER = 24, 60, 7.3
"""Letters of a label at most, the width of a column of numbers, and of one letter."""

_FILLS = {
    TEXT: 'fill="#56b4e9" stroke="#1f2933"',
    SLOT: 'fill="url(#slot)" stroke="#1f2933"',
    FRESH: 'fill="#e69f00" stroke="#1f2933"',
    GAP: 'fill="url(#gap)" stroke="#9aa5b1"',
    INSIDE: 'fill="#e9eff4" stroke="#9aa5b1"',
    LEFT_OUT: 'fill="none" stroke="#9aa5b1" stroke-dasharray="3 3"',
}
_HEAD = """\
  <defs>
    <pattern id="gap" width="6" height="6" patternUnits="userSpaceOnUse" \
patternTransform="rotate(45)">
      <rect width="6" height="6" fill="#ffffff"/><line y2="6" stroke="#9aa5b1" stroke-width="2"/>
    </pattern>
    <pattern id="slot" width="6" height="6" patternUnits="userSpaceOnUse">
      <rect width="6" height="6" fill="#f3d9e6"/><circle cx="3" cy="3" r="1.6" fill="#a8427c"/>
    </pattern>
  </defs>
"""


def svg(rulers: Sequence[Ruler]) -> str:
    """The rulers below each other, over axes of one scale; its description tells the rows too."""
    extent = max(1, *(ruler.extent for ruler in rulers))
    height = MARGIN
    parts: list[str] = []
    for ruler in rulers:
        parts += _drawn(ruler, extent, height)
        height += (len(ruler.rows) + 4) * LINE
    title = " and ".join(ruler.title for ruler in rulers)
    rows = "; ".join(_told(ruler) for ruler in rulers)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            'aria-labelledby="t d" font-family="ui-monospace, Menlo, Consolas, monospace" '
            'font-size="12">',
            f'  <title id="t">Positions of {escape(title)}</title>',
            f'  <desc id="d">{escape(rows)}</desc>',
            f'{_HEAD}  <rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *(f"  {part}" for part in parts),
            "</svg>\n",
        ]
    )


def _told(ruler: Ruler) -> str:
    rows = (f"{row.label.strip()} at {row.start:,}" for row in ruler.rows)
    return f"{ruler.title}: {', '.join(rows)}"


def _drawn(ruler: Ruler, extent: int, top: int) -> Iterator[str]:
    left = MARGIN + _LABEL * _LETTER + 2 * _NUMBER + 12
    scale = (WIDTH - MARGIN - left) / extent
    yield _text(MARGIN, top + 12, ruler.title, 'font-weight="bold"')
    top += LINE
    yield _text(left - _NUMBER - 12, top + 12, "at", 'text-anchor="end" fill="#52606d"')
    yield _text(left - 12, top + 12, "tokens", 'text-anchor="end" fill="#52606d"')
    for position in range(0, extent, round_step(extent / 10)):
        x = left + position * scale
        yield f'<path d="M{x:.1f} {top + 16}v5" stroke="#52606d"/>'
        yield _text(x, top + 12, f"{position:,}", 'fill="#52606d"')
    for row in ruler.rows:
        top += LINE
        label = row.label if len(row.label) <= _LABEL else f"{row.label[: _LABEL - 1]}…"
        yield _text(MARGIN, top + 14, label)
        yield _text(left - _NUMBER - 12, top + 14, f"{row.start:,}", 'text-anchor="end"')
        if row.tokens is not None:
            yield _text(left - 12, top + 14, f"{row.tokens:,}", 'text-anchor="end"')
        for mark in sorted(row.marks, key=lambda mark: PATTERNS.index(mark.pattern)):
            if mark.start < mark.stop:
                x, width = left + mark.start * scale, (mark.stop - mark.start) * scale
                yield _box(x, top + 3, max(width, 1), mark.pattern)
    yield from _legend(ruler, top + 1.5 * LINE)


def _legend(ruler: Ruler, top: float) -> Iterator[str]:
    x: float = MARGIN
    for pattern, words in ruler.legend:
        if pattern:
            yield _box(x, top, 16, pattern)
            x += 22
        yield _text(x, top + 11, words, 'fill="#52606d"')
        x += len(words) * _LETTER + 20


def _box(x: float, y: float, width: float, pattern: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="14" {_FILLS[pattern]}/>'


def _text(x: float, y: float, text: str, attributes: str = 'fill="#1f2933"') -> str:
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return f'<text x="{x:.1f}" y="{y:g}" xml:space="preserve" {attributes}>{escape(shown)}</text>'
