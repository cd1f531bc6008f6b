"""What a cursor is in, in documents that are half typed. `|` is the cursor."""

from __future__ import annotations

import random

import pytest

from pml.lsp.scan import cursor_at, elements, elements_in, root_of

SPOTS = [
    # text with a cursor, spot, open tags around, the tag, the attribute
    ("<a>|", "text", ["a"], None, None),
    ("<a|>", "tag", [], "a", None),
    ("<|a>", "tag", [], "a", None),
    ("|<a>", "text", [], None, None),
    ("<a><|", "tag", ["a"], None, None),
    ("<a><|</a>", "tag", ["a"], None, None),
    ("<a><b|", "tag", ["a"], "b", None),
    ("<a/><b>|", "text", ["b"], None, None),
    ("<a><b></b>|", "text", ["a"], None, None),
    ("<a><b></a>|", "text", [], None, None),
    ("<a></x>|", "text", ["a"], None, None),
    ("<a><|/a>", "tag", ["a"], None, None),
    ("<a></|", "closing", ["a"], None, None),
    ("<a></a|", "closing", [], "a", None),
    ("<a></|a>", "closing", [], "a", None),
    ("<a |", "attribute", [], "a", None),
    ("<a x|", "attribute", [], "a", "x"),
    ('<a x="|', "value", [], "a", "x"),
    ("<a x='1|'", "value", [], "a", "x"),
    ('<a x="1"|>', "between", [], "a", None),
    ('<a x="1" |>', "attribute", [], "a", None),
    ('<a x="1" y="|">', "value", [], "a", "y"),
    ('<a x="we\n <b>|', "text", ["a", "b"], None, None),
    ('<a x="we>|', "value", [], "a", "x"),
    ('<a x=">|">', "value", [], "a", "x"),
    ("<a\n  x = '|'/>", "value", [], "a", "x"),
    ("<a><!-- <b> | -->", "opaque", ["a"], None, None),
    ("<a><!-- <b> |", "opaque", ["a"], None, None),
    ("<a><!-- <b> -->|", "text", ["a"], None, None),
    ("<a><![CDATA[<b>|]]>", "opaque", ["a"], None, None),
    ("<a>1 < 2|", "text", ["a"], None, None),
    ("<?xml version='1.0'?><a>|", "text", ["a"], None, None),
    ("<!DOCTYPE|", "opaque", [], None, None),
    ("<a x='1' x2|='2'>", "attribute", [], "a", "x2"),
    ("<über><|", "tag", ["über"], None, None),
]


@pytest.mark.parametrize(("marked", "spot", "around", "tag", "attribute"), SPOTS)
def test_what_a_cursor_is_in(
    marked: str, spot: str, around: list[str], tag: str | None, attribute: str | None
) -> None:
    offset = marked.index("|")
    cursor = cursor_at(marked.replace("|", "", 1), offset)
    assert cursor.spot == spot
    assert [one.name for one in cursor.around] == around
    assert (cursor.tag.name if cursor.tag else None) == tag
    assert (cursor.attribute.name if cursor.attribute else None) == attribute
    assert cursor.start <= offset == cursor.offset


def test_values_are_read_with_their_references() -> None:
    tag = root_of("<a x='&lt;b&gt; &amp; &#233;' y>")
    assert tag is not None
    assert tag.attributes == {"x": "<b> & é"}
    assert [one.name for one in tag.written] == ["x", "y"]


def test_elements_end_where_they_are_closed_or_where_an_outer_one_is() -> None:
    text = "<a><b><c></b><d/></a><e>"
    (a, e) = elements(text)
    assert [text[one.tag.start : one.end] for one in (a, *a.children, e)] == [
        "<a><b><c></b><d/></a>",
        "<b><c></b>",
        "<d/>",
        "<e>",
    ]
    (c,) = elements_in(text, a.children[0].tag)
    assert text[c.tag.start : c.end] == "<c>"
    assert elements_in(text, c.tag) == []
    assert elements_in("<a/>", c.tag) == []


@pytest.mark.parametrize("piece", ["<a>", "<a", "</a>", "<a x='", "<!--", "<", "&", '"', "<a><b>"])
def test_long_nonsense_takes_linear_time(piece: str) -> None:
    text = piece * 20_000
    cursor_at(text, len(text))
    elements(text)


def test_any_text_at_any_cursor() -> None:
    pieces = [*"</>ab \n\"'=x&", "</", "/>", "<!--", "-->"]
    source = random.Random(4)
    for _ in range(2_000):
        text = "".join(source.choices(pieces, k=source.randrange(12)))
        elements(text)
        for offset in range(len(text) + 1):
            cursor = cursor_at(text, offset)
            assert 0 <= cursor.start <= offset
