"""White space between tags, rule by rule (specification, section 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pml.errors import Location
from pml.nodes import PromptText
from pml.schema import parse_schema
from pml.whitespace import normalised

BLANK: list[tuple[str, str]] = [
    (" ", " "),
    ("  \t ", " "),
    ("\r", " "),
    ("\n", ""),
    (" \n  ", ""),
    ("\u00a0", "\u00a0"),  # no white space in XML: an ordinary character
    ("\u2003\n", "\u2003\n"),
    ("\x85", "\x85"),
]


@pytest.mark.parametrize(("text", "between"), BLANK)
def test_white_space_only(text: str, between: str) -> None:
    assert normalised(text, first=False, last=False) == between
    if not between.strip(" \t\r\n"):
        assert normalised(text, first=True, last=False) == ""
        assert normalised(text, first=False, last=True) == ""


ENDS: list[tuple[str, str, str]] = [  # text, between two siblings, alone in its element
    ("a", "a", "a"),
    (" a  ", " a ", "a"),
    ("\ta\r", " a ", "a"),
    ("\na\n", "\na\n", "a"),
    (" \n\n a \n ", "\na\n", "a"),
    ("a  b\n\n\nc", "a  b\n\n\nc", "a  b\n\n\nc"),
    ("\u00a0a\u00a0", "\u00a0a\u00a0", "\u00a0a\u00a0"),
]


@pytest.mark.parametrize(("text", "between", "alone"), ENDS)
def test_runs_at_the_ends(text: str, between: str, alone: str) -> None:
    assert normalised(text, first=False, last=False) == between
    assert normalised(text, first=True, last=True) == alone
    assert normalised(text, first=True, last=False) == between.lstrip(" \n")
    assert normalised(text, first=False, last=True) == between.rstrip(" \n")


DEDENTED: dict[str, tuple[str, str]] = {
    "the common margin goes": ("\n    a\n      b\n    c\n  ", "a\n  b\nc"),
    "the first line follows a tag and does not count": ("a\n    b\n      c", "a\nb\n  c"),
    "nor is anything taken from it": ("  a\n  b", "a\nb"),
    "blank lines do not count": ("\n    a\n\n  \n    b\n", "a\n\n\nb"),
    "but lose what they have of the margin": ("\n  a\n     \n  b", "a\n   \nb"),
    "no common margin": ("\n    a\nb", "a\nb"),
    "tabs": ("\n\ta\n\t\tb", "a\n\tb"),
    "tabs and spaces share only what is equal": ("\n \ta\n  b", "a\n b"),
    "a margin of no white space": ("\n\u00a0a\n\u00a0b", "\u00a0a\n\u00a0b"),
    "one line": ("a", "a"),
}


@pytest.mark.parametrize(("text", "expected"), DEDENTED.values(), ids=DEDENTED)
def test_dedent(text: str, expected: str) -> None:
    assert normalised(text, first=True, last=True) == expected


@given(st.text(" \n\tab", min_size=1), st.booleans(), st.booleans())
def test_no_word_is_lost_and_ends_are_settled(text: str, first: bool, last: bool) -> None:
    result = normalised(text, first=first, last=last)
    assert result.split() == text.split()
    assert len(result) <= len(text)
    assert not first or result == result.lstrip()
    assert not last or result == result.rstrip()
    assert result[: len(result) - len(result.lstrip())] in ("", " ", "\n")


ELEMENTS: dict[str, tuple[str, list[str]]] = {
    "outer ends of the schema": (" a <param name='p' len='1'/> b ", ["a ", " b"]),
    "one blank between siblings": ("<param name='p' len='1'/>  <module/>", [" "]),
    "nothing between siblings on two lines": ("<param name='p' len='1'/>\n<module/>", []),
    "outer ends of a role": ("<user>\n  a\n</user>", ["a"]),
    "outer ends of a module without a name": ("<module> a </module>", ["a"]),
    "a comment is nothing": ("a <!-- b\n --> c", ["a  c"]),
    "a comment at the end": ("a <!-- b -->\n", ["a"]),
    "a CDATA section is text": ("\n<![CDATA[\n  a\n  b\n]]>\n", ["a\nb"]),
    "a scaffold is nothing": ("a <scaffold modules='m'/>\n  b<module name='m'/>", ["a \nb"]),
    "preserved": ("<user space='preserve'> a\n  b </user>", [" a\n  b "]),
    "preserved below": ("<user space='preserve'><module>\n a</module></user>", ["\n a"]),
    "preserved through a union": (
        "<union space='preserve'>\n<module name='m'><module> a</module></module>\n</union>a",
        ["a"],
    ),
    "ended": ("<user space='preserve'> <module space='default'> a </module></user>", [" ", "a"]),
}


@pytest.mark.parametrize(("document", "texts"), ELEMENTS.values(), ids=ELEMENTS)
def test_in_a_schema(document: str, texts: list[str]) -> None:
    schema = parse_schema(f"<schema name='s'>{document}</schema>")
    found = [node.text for node, _ in schema._own if isinstance(node, PromptText)]
    assert found == texts


def test_a_text_stands_at_its_first_word() -> None:
    schema = parse_schema("<schema name='s'>\n  <!-- x -->\n  word</schema>", "f")
    (text,) = schema.children
    assert text == PromptText("word")
    assert text.at == Location("f", 3, 3)
