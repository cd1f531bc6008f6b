"""Strict XML to a small tree with source positions, on the standard library's expat.

What PML takes of XML: elements, attributes, text, CDATA sections (which are text), comments
(which are nothing: the text around one is one text), the five named entities, character
references, an XML declaration of version 1.0 in UTF-8. What it refuses, each with its place:
DOCTYPE and everything that needs one, processing instructions, other entities, namespaces (a
colon in a name), other encodings, and documents beyond `Limits`. Nothing is ever fetched.

DOCTYPE, processing instructions, too many elements and overlong attribute lists are refused before
expat sees the document: no entity is declared, let alone expanded, and no tag of a million
attributes is built up.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from xml.parsers import expat

from pml.errors import Location, PMLSyntaxError, quoted
from pml.malformed import malformed
from pml.source import Source, advanced, read_source


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a document may be; the defaults are those of a schema."""

    document_bytes: int = 8 << 20
    depth: int = 64
    elements: int = 100_000
    """elements, comments and CDATA sections together"""
    attributes: int = 64
    file_bytes: int = 8 << 20
    """of one file named by `src`"""
    all_files_bytes: int = 64 << 20
    """of all of them together: a thousand modules may name the same file"""


SCHEMA_LIMITS = Limits()
PROMPT_LIMITS = Limits(document_bytes=1 << 20)


@dataclass(frozen=True, slots=True)
class Text:
    """A run of characters between two tags, never empty; `at` is its first that is not blank."""

    text: str
    at: Location


@dataclass(frozen=True, slots=True)
class Element:
    tag: str
    attributes: dict[str, str]
    children: "tuple[Element | Text, ...]"
    at: Location
    opening: bytes = field(repr=False)
    """the opening tag as it was written"""

    def attribute_at(self, name: str) -> Location:
        """The place of an attribute's name, or of the tag if it has no such attribute."""
        for match in _ATTRIBUTE.finditer(self.opening, len(self.tag.encode()) + 1):
            if match[1].decode() == name:
                return advanced(self.at, self.opening[: match.start(1)])
        return self.at


_ATTRIBUTE = re.compile(rb"([^\s=/]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_OPENING_TAG = re.compile(rb"<(?:[^\"'>]++|\"[^\"]*+\"|'[^']*+')*+>")
_BLANK = re.compile(rb"[ \t\r\n]*")


def parse_markup(
    text: str | bytes, file: str, limits: Limits = SCHEMA_LIMITS, first_line: int = 1
) -> Element:
    """The document's root element; `first_line` is the number of its first line.

    Raises PMLSyntaxError at the first thing that is not well formed, not taken from XML, or
    beyond a limit.
    """
    source = read_source(text, file, limits.document_bytes, first_line)
    _refuse_foreign(source, limits)
    return _TreeBuilder(source, limits).build()


def _refuse_foreign(source: Source, limits: Limits) -> None:
    """Refuse what expat would have to swallow whole before a handler could object."""
    for number, match in enumerate(_markup_pattern(limits.attributes).finditer(source.data), 1):
        kind, code = match.lastgroup, "limit"
        if number > limits.elements:
            message = f"more elements and comments than the limit of {limits.elements:,}"
        elif kind == "allowed":
            continue
        elif kind == "unclosed":
            return  # all that follows is inside it, and expat says so
        elif kind == "many":
            message = f"a tag with more attributes than the limit of {limits.attributes}"
        elif kind == "instruction":
            code = "foreign-xml"
            message = f"processing instruction {quoted(match[0].decode())}: PML has none; remove it"
        else:
            code = "foreign-xml"
            advice = "PML has no DTD and declares no entities; remove it"
            message = f"declaration {quoted(match[0].decode())}: {advice}"
        raise PMLSyntaxError(message, source.at(match.start()), code=code)


@cache
def _markup_pattern(attributes: int) -> re.Pattern[bytes]:
    """Any markup but a closing tag; of an opening tag as much as shows that it is one, unless it
    has more than so many attributes. Nothing in it is ever tried twice (`++`, `*+`)."""
    name = rb"[^\s<>/=!?\"'&]++"
    attribute = rb"\s++[^\s=<>\"'/]++\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+')"
    pattern = rb"""<(?![<\s/>="'&])(?:
        (?P<allowed> !--.*?--> | !\[CDATA\[.*?\]\]> | (?<=\A<)\?xml(?![^\s?])
          | (?!%(name)b(?:%(attribute)b){%(most)d}) [^!?] )
      | (?P<unclosed> !-- | !\[CDATA\[ )
      | (?P<declaration> !\w* )
      | (?P<instruction> \?[^\s?<>]* )
      | (?P<many> . )
    )"""
    values = {b"name": name, b"attribute": attribute, b"most": attributes + 1}
    return re.compile(pattern % values, re.DOTALL | re.VERBOSE)


@dataclass(slots=True)
class _OpenElement:
    tag: str
    attributes: dict[str, str]
    at: Location
    opening: bytes
    children: list[Element | Text]


class _TreeBuilder:
    """Handlers that expat calls. Of each piece of markup the start and the end are remembered: a
    text begins where the markup before it ended, and expat tells no place of its own for it."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.open: list[_OpenElement] = []
        self.root: Element | None = None
        self.pieces: list[str] = []
        self.markup = (source.at(0), 0, 0)  # place, first byte, byte after the last
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.XmlDeclHandler = self.on_declaration
        parser.StartElementHandler = self.on_start
        parser.EndElementHandler = self.on_end
        parser.CommentHandler = self.on_comment
        parser.CharacterDataHandler = self.on_text
        self.parser = parser

    def build(self) -> Element:
        try:
            self.parser.Parse(self.source.data, True)
        except expat.ExpatError as error:
            opened = [(element.tag, element.at) for element in self.open]
            raise malformed(self.source, error.code, self.parser.ErrorByteIndex, opened) from None
        assert self.root is not None
        return self.root

    def here(self) -> Location:
        parser = self.parser
        line = self.source.first_line - 1 + parser.CurrentLineNumber
        return Location(self.source.file, line, parser.CurrentColumnNumber + 1)

    def on_declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if version != "1.0" or (encoding or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            found = f"XML {version} in {encoding or 'utf-8'}"
            message = f"{found}; expected XML 1.0 in UTF-8"
            raise PMLSyntaxError(message, self.here(), code="encoding")

    def on_start(self, tag: str, attributes: dict[str, str]) -> None:
        self.flush_text()
        at = self.here()
        if len(self.open) >= self.limits.depth:
            message = f"elements nested deeper than the limit of {self.limits.depth}"
            raise PMLSyntaxError(message, at, code="limit")
        start = self.parser.CurrentByteIndex
        match = _OPENING_TAG.match(self.source.data, start)
        assert match is not None
        self.markup = (at, start, match.end())
        element = _OpenElement(tag, attributes, at, match[0], [])
        self.open.append(element)
        for name in (tag, *attributes):
            if ":" in name or name == "xmlns":
                raise _namespace_error(element, name)

    def on_end(self, tag: str) -> None:
        self.flush_text()
        closed = self.open.pop()
        if not closed.opening.endswith(b"/>"):
            start = self.parser.CurrentByteIndex
            self.markup = (self.here(), start, self.source.data.index(b">", start) + 1)
        element = Element(tag, closed.attributes, tuple(closed.children), closed.at, closed.opening)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element

    def on_comment(self, comment: str) -> None:
        if not any(piece.strip(" \t\r\n") for piece in self.pieces):
            start = self.parser.CurrentByteIndex
            end = self.source.data.index(b"-->", start + 4) + 3
            self.markup = (self.here(), start, end)

    def on_text(self, piece: str) -> None:
        self.pieces.append(piece)

    def flush_text(self) -> None:
        if self.pieces:
            place, start, end = self.markup
            blank = _BLANK.match(self.source.data, end)
            assert blank is not None
            at = advanced(place, self.source.data[start : blank.end()])
            self.open[-1].children.append(Text("".join(self.pieces), at))
            self.pieces.clear()


def _namespace_error(element: _OpenElement, name: str) -> PMLSyntaxError:
    written = Element(element.tag, element.attributes, (), element.at, element.opening)
    advice = "PML has no namespaces"
    if name == "xml:space":
        advice += '; write space="preserve"'
    elif name == element.tag:
        advice += f'; a module of this name is imported by <use module="{name}"/>'
    at = written.attribute_at(name)
    return PMLSyntaxError(f"{quoted(name)}: {advice}", at, code="foreign-xml")
