"""The markup of a document that may be half typed: which tag is where, and what a cursor is in.

The strict parser gives no tree of `<trip duration="a we`, and an editor needs help right there.
Here a text is read in one pass without a grammar: an opening tag ends at its `>` or at the next
`<`, a closing tag closes the nearest one of its name, everything else is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from html import unescape
from typing import Literal

_NAME = r"[^\s<>/=!?\"'&][^\s<>/=\"'&]*+"
_MARKUP = re.compile(
    rf"""<!--(?:.*?-->|.*) | <!\[CDATA\[(?:.*?\]\]>|.*) | <[!?][^<>]*>?
      | </(?P<closed>{_NAME})?\s*>?
      | <(?P<opened>{_NAME})(?P<inside>(?:[^<>"']++|"[^"<]*+"?+|'[^'<]*+'?+)*+)(?P<end>>?)
    """,
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(
    rf"""(?P<name>{_NAME})(?:\s*=\s*(?P<quote>["'])(?P<value>.*?)(?:(?P=quote)|\Z))?""",
    re.DOTALL | re.VERBOSE,
)


_DEEPEST = 100
"""Tags deeper than that are not taken for open; the parser refuses them anyway."""


@dataclass(frozen=True, slots=True)
class Written:
    """An attribute as it stands: `value` is None where none is written yet."""

    name: str
    start: int
    value: str | None
    value_start: int
    value_end: int

    @property
    def end(self) -> int:
        """After the value, without its closing quote; after the name where there is none."""
        return self.start + len(self.name) if self.value is None else self.value_end


@dataclass(frozen=True)
class Tag:
    """An opening tag from its `<` at `start` to `end`, as far as it is written."""

    name: str
    start: int
    end: int
    inside: str = field(repr=False)
    is_whole: bool
    """whether it has its `>`"""

    @property
    def closes_itself(self) -> bool:
        return self.is_whole and self.inside.endswith("/")

    @property
    def name_end(self) -> int:
        return self.start + 1 + len(self.name)

    @cached_property
    def written(self) -> tuple[Written, ...]:
        at = self.name_end
        return tuple(
            Written(
                m["name"], at + m.start(), m["value"], at + m.start("value"), at + m.end("value")
            )
            for m in _ATTRIBUTE.finditer(self.inside)
        )

    @cached_property
    def attributes(self) -> dict[str, str]:
        return {one.name: unescape(one.value) for one in self.written if one.value is not None}


@dataclass(slots=True)
class Element:
    """A tag with what stands in it; `end` is where it is closed, or the text's end."""

    tag: Tag
    end: int
    children: list[Element] = field(default_factory=list)


Spot = Literal["text", "opaque", "tag", "closing", "attribute", "value", "between"]


@dataclass(frozen=True)
class Cursor:
    """What stands at an offset.

    spot       `tag`, `attribute`, `value`, `closing`: in such a name or value; `between` in a tag,
               but in none of them; `opaque` in a comment, a CDATA section; `text` outside of all
    around     the open tags, outermost first, without `tag`
    tag        the opening tag that the offset is in, or the one that is closed there
    attribute  the attribute it is in
    start      where the name or value begins that the offset is in, else the offset
    """

    spot: Spot
    around: tuple[Tag, ...]
    start: int
    offset: int
    tag: Tag | None = None
    attribute: Written | None = None

    @property
    def typed(self) -> str:
        """What of a value stands before the cursor."""
        value = self.attribute.value if self.attribute else None
        return (value or "")[: self.offset - self.start]


def root_of(text: str) -> Tag | None:
    """The first opening tag."""
    return next((_tag(match) for match in _MARKUP.finditer(text) if match["opened"]), None)


def elements(text: str) -> list[Element]:
    """The outermost elements, each with those inside it."""
    outermost: list[Element] = []
    stack: list[Element] = []
    for match in _MARKUP.finditer(text):
        if match["opened"]:
            element = Element(_tag(match), match.end())
            (stack[-1].children if stack else outermost).append(element)
            if not element.tag.closes_itself and len(stack) < _DEEPEST:
                element.end = len(text)
                stack.append(element)
        elif match["closed"]:
            depth = _depth_of(match["closed"], [element.tag for element in stack])
            for inner in stack[depth + 1 :]:
                inner.end = match.start()
            if depth < len(stack):
                stack[depth].end = match.end()
            del stack[depth:]
    return outermost


def elements_in(text: str, tag: Tag) -> list[Element]:
    """The children of the element that `tag` begins."""
    waiting = elements(text)
    while waiting:
        element = waiting.pop()
        if element.tag.start == tag.start:
            return element.children
        if element.tag.start < tag.start < element.end:
            waiting = element.children.copy()
    return []


def cursor_at(text: str, offset: int) -> Cursor:
    """What stands at `offset`, from what is before it and the tag it is in."""
    stack: list[Tag] = []
    for match in _MARKUP.finditer(text):
        if match.start() >= offset:
            break
        if offset < match.end() or (offset == match.end() and not _is_ended(match)):
            return _inside(match, stack, offset)
        if match["opened"]:
            tag = _tag(match)
            if not tag.closes_itself and len(stack) < _DEEPEST:
                stack.append(tag)
        elif match["closed"]:
            del stack[_depth_of(match["closed"], stack) :]
    return Cursor("tag" if text[:offset].endswith("<") else "text", tuple(stack), offset, offset)


def _is_ended(match: re.Match[str]) -> bool:
    return bool(match["end"]) if match["opened"] else match[0].endswith(">")


def _inside(match: re.Match[str], stack: list[Tag], offset: int) -> Cursor:
    around = tuple(stack)
    if offset == match.start() + 1 and not match["opened"]:
        return Cursor("tag", around, offset, offset)
    if match[0].startswith("</"):
        depth = _depth_of(match["closed"] or "", stack)
        tag = stack[depth] if depth < len(stack) else None
        return Cursor("closing", around[:depth], match.start() + 2, offset, tag)
    if not match["opened"]:
        return Cursor("opaque", around, offset, offset)
    tag = _tag(match)
    if offset <= tag.name_end:
        return Cursor("tag", around, tag.start + 1, offset, tag)
    for one in tag.written:
        if one.start <= offset <= one.start + len(one.name):
            return Cursor("attribute", around, one.start, offset, tag, one)
        if one.value is not None and one.value_start <= offset <= one.value_end:
            return Cursor("value", around, one.value_start, offset, tag, one)
    spot: Spot = "attribute" if match.string[offset - 1].isspace() else "between"
    return Cursor(spot, around, offset, offset, tag)


def _depth_of(name: str, stack: list[Tag]) -> int:
    """Where the nearest open tag of this name stands in the stack; its length if there is none."""
    found = (depth for depth in range(len(stack) - 1, -1, -1) if stack[depth].name == name)
    return next(found, len(stack))


def _tag(match: re.Match[str]) -> Tag:
    return Tag(match["opened"], match.start(), match.end(), match["inside"], bool(match["end"]))
