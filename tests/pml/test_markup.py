"""The tree that strict XML becomes, and the place of everything in it."""

import pytest

from pml.errors import Location, PMLSyntaxError
from pml.markup import PROMPT_LIMITS, SCHEMA_LIMITS, Element, Limits, Text, parse_markup


def parse(document: str | bytes, limits: Limits = SCHEMA_LIMITS) -> Element:
    return parse_markup(document, "f", limits)


def outline(element: Element) -> list[object]:
    """Tag, place and children of an element, texts as (text, line, column)."""
    children = [
        (child.text, child.at.line, child.at.column) if isinstance(child, Text) else outline(child)
        for child in element.children
    ]
    return [element.tag, element.at.line, element.at.column, *children]


TREES: dict[str, tuple[str | bytes, list[object]]] = {
    "empty element": ("<a/>", ["a", 1, 1]),
    "bytes": (b"<a>\xc3\xa9</a>", ["a", 1, 1, ("é", 1, 4)]),
    "byte order mark": ("\ufeff<a>x</a>", ["a", 1, 1, ("x", 1, 4)]),
    "declaration": ('<?xml version="1.0" encoding="UTF-8"?>\n<a/>', ["a", 2, 1]),
    "white space around": ("\n  <a/>\n", ["a", 2, 3]),
    "mixed content in order": (
        "<a>x<b/>y<c>z</c></a>",
        ["a", 1, 1, ("x", 1, 4), ["b", 1, 5], ("y", 1, 9), ["c", 1, 10, ("z", 1, 13)]],
    ),
    "text begins at its first word": ("<a>\n\n  x\n</a>", ["a", 1, 1, ("\n\n  x\n", 3, 3)]),
    "blank text ends where the next tag begins": (
        "<a> <b/></a>",
        ["a", 1, 1, (" ", 1, 5), ["b", 1, 5]],
    ),
    "a comment is nothing": ("<a>x<!-- c -->y</a>", ["a", 1, 1, ("xy", 1, 4)]),
    "text after a comment": ("<a> <!-- c\n -->  y</a>", ["a", 1, 1, ("   y", 2, 7)]),
    "comments outside": ("<!-- < & --><a/><!-- -->", ["a", 1, 13]),
    "a CDATA section is text": (
        "<a>x<![CDATA[ <b> & ]] ]]>y</a>",
        ["a", 1, 1, ("x <b> & ]] y", 1, 4)],
    ),
    "a CDATA section alone": ("<a>\n<![CDATA[<]]></a>", ["a", 1, 1, ("\n<", 2, 1)]),
    "entities and references": (
        "<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x1F600;</a>",
        ["a", 1, 1, ("<>&\"'A😀", 1, 4)],
    ),
    "carriage returns are line ends": (
        "<a>x\r\ny\rz<b/></a>",
        ["a", 1, 1, ("x\ny\nz", 1, 4), ["b", 3, 2]],
    ),
    "but not as references": ("<a>&#13;</a>", ["a", 1, 1, ("\r", 1, 4)]),
    "columns count characters": (
        "<a>é𝛼<b/>😀<c/></a>",
        ["a", 1, 1, ("é𝛼", 1, 4), ["b", 1, 6], ("😀", 1, 10), ["c", 1, 11]],
    ),
    "greater-than in a value": ("<a b='>'>x</a>", ["a", 1, 1, ("x", 1, 10)]),
    "a tag over lines": ("<a\n b='\n>'\n>x</a\n>", ["a", 1, 1, ("x", 4, 2)]),
    "empty element before a closing tag": ("<a><b/></a>", ["a", 1, 1, ["b", 1, 4]]),
    "text after a closing tag": (
        "<a><b>é</b >x</a>",
        ["a", 1, 1, ["b", 1, 4, ("é", 1, 7)], ("x", 1, 13)],
    ),
}


@pytest.mark.parametrize(("document", "expected"), TREES.values(), ids=TREES)
def test_tree(document: str | bytes, expected: list[object]) -> None:
    assert outline(parse(document)) == expected


def test_attributes_have_values_and_places() -> None:
    document = "<x>\n <a b = 'b=\"\"' \n\té='c=&lt;&#10;\t' len=\"\"/></x>"
    element = parse(document).children[1]
    assert isinstance(element, Element)
    assert element.attributes == {"b": 'b=""', "é": "c=<\n ", "len": ""}
    places = {"b": (2, 5), "é": (3, 2), "len": (3, 19), "none": (2, 2)}
    for name, (line, column) in places.items():
        assert element.attribute_at(name) == Location("f", line, column)


def test_lines_are_counted_as_xml_counts_them() -> None:
    (text,) = parse("<a>\r\n\r\n \rx</a>").children
    assert text == Text("\n\n \nx", Location("f", 4, 1))
    with pytest.raises(PMLSyntaxError, match=r"f:3:2: bare '&'"):
        parse("<a>x\ry\r\n & z</a>")


def test_long_text_is_one_text() -> None:
    text = "line é\n" * 100_000
    assert parse(f"<a>{text}</a>").children == (Text(text, Location("f", 1, 4)),)


@pytest.mark.parametrize(
    ("limits", "within", "beyond", "message"),
    [
        (Limits(document_bytes=5), "<é/>", "<aé/>", "1:1: the document is larger than"),
        (Limits(document_bytes=5), "<a/> ", "<aaa/>", "1:1: the document is larger than"),
        (Limits(depth=2), "<a><b/></a>", "<a><b><c/></b></a>", "1:7: elements nested deeper than"),
        (Limits(elements=2), "<a><b/></a>", "<a><b/><b/></a>", "1:8: more elements and comments"),
        (Limits(elements=2), "<a><!----></a>", "<a><!----><c/></a>", "1:11: more elements and"),
        (Limits(attributes=1), "<a b=''/>", "<a b='' c=''/>", "1:1: a tag with more attributes"),
    ],
)
def test_limits(limits: Limits, within: str, beyond: str, message: str) -> None:
    parse(within, limits)
    with pytest.raises(PMLSyntaxError, match=f"^f:{message}"):
        parse(beyond, limits)


def test_what_looks_like_markup_in_a_section_is_none() -> None:
    many = " ".join(f"n{i}=''" for i in range(80))
    text = f"<!DOCTYPE x><?php ?><a {many}>"
    assert parse(f"<a><!-- {text} --><![CDATA[{text}]]></a>").children == (
        Text(text, Location("f", 1, len(text) + 13)),
    )


def test_prompts_are_smaller_than_schemas() -> None:
    document = f"<a>{'x' * (1 << 20)}</a>"
    parse(document)
    with pytest.raises(PMLSyntaxError, match="larger than the limit of 1,048,576 bytes"):
        parse(document, PROMPT_LIMITS)
