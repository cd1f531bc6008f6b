"""Wrong documents and the exact line that each gets: `data/errors_*.txt`.

A block of these files is a document and, after `=> `, its error.
"""

from pathlib import Path

import pytest

from pml.errors import IN_CODE, Location, PMLError, closest, did_you_mean, listed, quoted, tagged
from pml.markup import parse_markup
from pml.program import PromptProgram
from pml.prompt import check_prompt, parse_prompt
from pml.schema import parse_schema

DATA = Path(__file__).parent / "data"


def blocks(name: str) -> list[tuple[str, str]]:
    table = (DATA / name).read_text(encoding="utf-8").split("-----\n")[1:]
    pairs = [block.rpartition("\n=> ") for block in table]
    return [(document, line.removesuffix("\n")) for document, _, line in pairs]


def line_of(error: PMLError) -> str:
    line = str(error)
    assert "\n" not in line
    assert error.at is not None
    assert line == f"{error.at.file}:{error.at.line}:{error.at.column}: {error.message}"
    return line


@pytest.mark.parametrize(("document", "line"), blocks("errors_markup.txt"))
def test_malformed_xml(document: str, line: str) -> None:
    with pytest.raises(PMLError) as caught:
        parse_markup(document, "a.xml")
    assert line_of(caught.value) == line


@pytest.mark.parametrize(("document", "line"), blocks("errors_schema.txt"))
def test_wrong_schema(document: str, line: str) -> None:
    with pytest.raises(PMLError) as caught:
        parse_schema(document, "s.pml")
    assert line_of(caught.value) == line


@pytest.mark.parametrize(("document", "line"), blocks("errors_prompt.txt"))
def test_wrong_prompt(document: str, line: str) -> None:
    schema = parse_schema((DATA / "travel.pml").read_bytes(), "travel.pml")
    with pytest.raises(PMLError) as caught:
        check_prompt(parse_prompt(document, "p.pml"), schema)
    assert line_of(caught.value) == line


@pytest.mark.parametrize(("document", "line"), blocks("errors_program.txt"))
def test_wrong_program(document: str, line: str) -> None:
    """The function `f`, behind four lines that import everything and decorate it."""
    head = "from pml.program import *\n\n\n@prompt_program\n"
    with pytest.raises(PMLError) as caught:
        _ = PromptProgram(f"{head}{document}\n", "p.py", "f").schema
    assert line_of(caught.value) == line


def test_an_error_may_have_no_place() -> None:
    error = PMLError("too large", code="limit")
    assert (str(error), error.message, error.at) == ("too large", "too large", None)
    assert str(IN_CODE) == "<code>:1:1"
    assert Location("a", 2, 9) < Location("a", 10, 1)


def test_what_is_quoted_stays_on_one_short_line() -> None:
    assert quoted("a\nb\x1b\u2028") == r"'a\nb\x1b\u2028'"
    assert quoted("x" * 99 + "y" * 99) == f"'{'x' * 40}…{'y' * 19}'"
    assert tagged("x" * 99) == f"<{'x' * 40}…{'x' * 19}>"


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], ""),
        (["a"], "'a'"),
        (["a", "b"], "'a' or 'b'"),
        (list("abcdef"), "'a', 'b', 'c', 'd', 'e' or 'f'"),
        (list("abcdefgh"), "'a', 'b', 'c', 'd', 'e' or 3 more"),
    ],
)
def test_listed(names: list[str], line: str) -> None:
    assert listed(names) == line


def test_did_you_mean() -> None:
    assert closest("Amazn", ["maldives", "amazon"]) == "amazon"
    assert closest("x", ["maldives", "amazon"]) is None
    assert closest("a" * 81, ["a" * 80]) is None
    assert did_you_mean("amazon") == "; did you mean 'amazon'?"
    assert did_you_mean("module", tagged) == "; did you mean <module>?"
    assert did_you_mean(None) == ""
