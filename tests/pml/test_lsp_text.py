"""Positions of the protocol against a naive reading: an array of UTF-16 units."""

from __future__ import annotations

import random

import pytest

from pml.errors import Location
from pml.lsp.text import Buffer, Position, Text, units

SIGNS = "ab\n\r é\u2028\x85😋𝄞"


def random_text(source: random.Random) -> str:
    return "".join(source.choices(SIGNS, k=source.randint(0, 12)))


def random_position(source: random.Random) -> Position:
    return Position(source.randint(0, 6), source.randint(0, 9))


def starts_of(array: list[str]) -> list[int]:
    """The first unit of each line."""
    starts = [0]
    for index, unit in enumerate(array):
        if unit == "\n" or (unit == "\r" and array[index + 1 : index + 2] != ["\n"]):
            starts.append(index + 1)
    return starts


def array_of(text: str) -> list[str]:
    data = text.encode("utf-16-le")
    pairs = [data[index : index + 2] for index in range(0, len(data), 2)]
    return [pair.decode("utf-16-le", "surrogatepass") for pair in pairs]


def text_of(array: list[str]) -> str:
    return "".join(array).encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def index_of(array: list[str], position: Position) -> int:
    """The unit at a position: not beyond its line's end, not between the halves of a pair."""
    starts = starts_of(array)
    if position.line >= len(starts):
        return len(array)
    start = starts[position.line]
    end = starts[position.line + 1] if position.line + 1 < len(starts) else len(array)
    while end > start and array[end - 1] in "\r\n":
        end -= 1
    index = min(start + position.character, end)
    return index - (index < len(array) and 0xDC00 <= ord(array[index]) < 0xE000)


def test_a_position_is_where_the_array_has_it() -> None:
    source = random.Random(1)
    for _ in range(3_000):
        content, position = random_text(source), random_position(source)
        text, array = Text(content), array_of(content)
        offset = text.offset(position)
        assert content[:offset] == text_of(array[: index_of(array, position)])
        back = text.position(offset)
        assert text.offset(back) == offset or content[offset - 1 : offset + 1] == "\r\n"


def test_edits_give_what_they_give_on_the_array() -> None:
    source = random.Random(2)
    for _ in range(3_000):
        content = random_text(source)
        buffer, array = Buffer(content), array_of(content)
        for _ in range(source.randint(0, 6)):
            start, stop = sorted((random_position(source), random_position(source)))
            new = random_text(source)
            buffer.replace(start, stop, new)
            array[index_of(array, start) : index_of(array, stop)] = array_of(new)
        text = buffer.text()
        assert text.content == text_of(array), content
        assert text.lines == Text(text.content).lines


@pytest.mark.parametrize(
    ("content", "at", "offset"),
    [
        ("ab\ncd", Location("f", 2, 2), 4),
        ("ab\r\ncd", Location("f", 2, 1), 4),
        ("😋b", Location("f", 1, 2), 1),
        ("\ufeffab\nc", Location("f", 1, 1), 1),
        ("\ufeffab\nc", Location("f", 2, 1), 4),
        ("ab", Location("f", 9, 9), 2),
        ("", Location("f", 1, 1), 0),
    ],
)
def test_places_of_pml(content: str, at: Location, offset: int) -> None:
    assert Text(content).offset_of(at) == offset


def test_half_a_pair_alone_is_counted_and_breaks_nothing() -> None:
    assert units("\ud83d") == 1
    assert Text("a\ud83db").offset(Position(0, 2)) == 2
