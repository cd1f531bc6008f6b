"""A document's text by the positions of the Language Server Protocol.

    offset      characters from the text's beginning, from 0
    Position    line and character from 0; a character is a UTF-16 unit, a line ends in LF, CR LF
                or CR and in nothing else
    Location    of PML: line and column from 1, columns in characters, without byte order mark

`pygls` counts lines as Python does (U+2028 would end one) and moves positions beyond a line's
end, so edits are applied here.
"""

from __future__ import annotations

import re
from bisect import bisect
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from pml.errors import Location

_LINE = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+")


class Position(NamedTuple):
    line: int
    character: int


class Text:
    """A text that does not change."""

    def __init__(self, content: str, lines: list[str] | None = None) -> None:
        self.content = content
        self.lines = _LINE.findall(content) if lines is None else lines

    @cached_property
    def starts(self) -> list[int]:
        """The offset of each line, and the length of the text."""
        return [*accumulate(map(len, self.lines), initial=0)]

    def position(self, offset: int) -> Position:
        offset = max(0, min(offset, len(self.content)))
        line = bisect(self.starts, offset) - 1
        if line == len(self.lines):
            ends_in_break = not self.lines or self.lines[-1].endswith(("\r", "\n"))
            line -= not ends_in_break
        line = max(line, 0)
        return Position(line, units(self.content[self.starts[line] : offset]))

    def offset(self, position: Position) -> int:
        """The offset of a position; one beyond a line's end is at its end."""
        line, column = _place(self.lines, position)
        return self.starts[line] + column

    def offset_of(self, at: Location) -> int:
        """The offset of a place as PML tells it."""
        line = min(at.line - 1, len(self.lines))
        mark = line == 0 and self.content.startswith("\ufeff")
        return min(self.starts[line] + at.column - 1 + mark, len(self.content))


class Buffer:
    """A text that is being edited: an edit costs what its lines are long."""

    def __init__(self, content: str) -> None:
        self.lines: list[str] = _LINE.findall(content)

    def text(self) -> Text:
        lines = self.lines.copy()
        return Text("".join(lines), lines)

    def replace(self, start: Position, stop: Position, new: str) -> None:
        """Put `new` in the place of [start, stop)."""
        (first, head), (last, tail) = _place(self.lines, start), _place(self.lines, stop)
        low, high = max(0, first - 1), last + 2  # an edit may join CR and LF to one break
        before = "".join(self.lines[low:first]) + "".join(self.lines[first : first + 1])[:head]
        after = "".join(self.lines[last : last + 1])[tail:] + "".join(self.lines[last + 1 : high])
        self.lines[low:high] = _LINE.findall(before + new + after)


def units(text: str) -> int:
    """
    >>> units("a😋")
    3
    """
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _place(lines: list[str], position: Position) -> tuple[int, int]:
    """Line and character index of a position."""
    if position.line >= len(lines):
        ends_in_break = not lines or lines[-1].endswith(("\r", "\n"))
        return (len(lines), 0) if ends_in_break else (len(lines) - 1, len(lines[-1]))
    line = lines[position.line].rstrip("\r\n")
    if line.isascii():
        return position.line, min(position.character, len(line))
    encoded = line.encode("utf-16-le", "surrogatepass")[: 2 * position.character]
    column = len(encoded.decode("utf-16-le", "surrogatepass"))
    inside_a_pair = units(line[:column]) > len(encoded) // 2
    return position.line, column - inside_a_pair
