"""All errors of a document in one go, as data. `data/errors_many.txt` holds the exact lists.

A block of that file is a document and, after each `=> `, a diagnostic with its range and code.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from test_errors_table import blocks

from pml.diagnostics import Checked, Diagnostic, Lines, diagnose_prompt, diagnose_schema
from pml.errors import ErrorList, Location, PMLError, Related
from pml.nodes import Prompt, Schema
from pml.prompt import check_prompt, parse_prompt
from pml.rule_table import ERRORS
from pml.schema import parse_schema

DATA = Path(__file__).parent / "data"
TRAVEL = parse_schema((DATA / "travel.pml").read_bytes(), "travel.pml")


def diagnose(document: str | bytes) -> Checked[Schema] | Checked[Prompt]:
    start = document[:99].lstrip()
    if start.startswith("<prompt" if isinstance(start, str) else b"<prompt"):
        return diagnose_prompt(document, "d.pml", TRAVEL)
    return diagnose_schema(document, "d.pml")


def first_error(document: str) -> str | None:
    try:
        if document.lstrip().startswith("<prompt"):
            check_prompt(parse_prompt(document, "d.pml"), TRAVEL)
        else:
            parse_schema(document, "d.pml")
    except PMLError as error:
        return str(error)
    return None


def shown(found: Diagnostic) -> str:
    assert found.at and found.end
    end = f"{found.end.column}"
    if found.end.line > found.at.line:
        end = f"{found.end.line}:{end}"
    return f"{found.at}-{end} {found.code}: {found.message}"


def many() -> list[tuple[str, list[str]]]:
    table = (DATA / "errors_many.txt").read_text(encoding="utf-8").split("-----\n")[1:]
    split = [block.removesuffix("\n").split("\n=> ") for block in table]
    return [(document, lines) for document, *lines in split]


@pytest.mark.parametrize(("document", "lines"), many())
def test_all_errors_of_a_document(document: str, lines: list[str]) -> None:
    assert [shown(found) for found in diagnose(document).diagnostics] == lines


@pytest.mark.parametrize("table", ["errors_schema.txt", "errors_prompt.txt", "errors_markup.txt"])
def test_the_first_error_is_among_all_of_them_and_each_has_a_rule_and_a_range(table: str) -> None:
    for document, line in blocks(table):
        if table == "errors_prompt.txt":
            found = diagnose_prompt(document, "p.pml", TRAVEL).diagnostics
        else:
            found = diagnose_schema(document, line.partition(":")[0]).diagnostics
        assert table == "errors_markup.txt" or line in map(str, found)
        assert found == tuple(sorted(found, key=lambda one: one.at or Location("", 0, 0)))
        for one in found:
            assert one.code in ERRORS, one
            at_end = "the document " in one.message  # is empty, ends inside of something
            assert one.at and one.end and (one.at < one.end or at_end), one


def test_a_right_document_has_no_diagnostics() -> None:
    checked = diagnose_schema((DATA / "travel.pml").read_bytes(), "travel.pml")
    assert (checked.tree, checked.diagnostics, checked.has_errors) == (TRAVEL, (), False)
    asked = diagnose_prompt("<prompt schema='travel' days='3'/>", "p", TRAVEL)
    assert (asked.diagnostics, asked.has_errors) == ((), False)


def test_the_tree_is_there_as_far_as_it_could_be_read() -> None:
    broken = '<schema name="s"><modul/><module name="m">Hi</module></schema>'
    checked = diagnose_schema(broken)
    assert checked.has_errors and checked.tree
    assert checked.tree.find(("m",)) == parse_schema(broken.replace("<modul/>", "")).find(("m",))
    assert diagnose_schema("<schema").tree is None
    assert diagnose_prompt('<prompt schema="s"><x/></prompt>', schema=None).diagnostics == ()


def test_suggestions_and_related_places() -> None:
    text = "<prompt schema='travel' days='3'>\n<notse/><notes/>\n<notes/></prompt>"
    unknown, again = diagnose_prompt(text, "p.pml", TRAVEL).diagnostics
    assert unknown.suggestion == "notes"
    assert again.related == (Related(Location("p.pml", 2, 9), "the first import"),)
    required = diagnose_prompt("<prompt schema='travel' days='3'><plan/></prompt>", "p", TRAVEL)
    assert [str(place.at) for place in required.diagnostics[0].related] == ["travel.pml:4:3"]


def test_an_error_is_kept_once() -> None:
    found = ErrorList()
    for at in (Location("f", 1, 1), Location("f", 2, 1), Location("f", 1, 1)):
        found(PMLError("wrong", at, code="limit"))
    assert [error.at and error.at.line for error in found.errors] == [1, 2]


def test_a_hundred_errors_are_enough() -> None:
    schema = f'<schema name="s">{"<wrong/>" * 5000}</schema>'
    assert len(diagnose_schema(schema).diagnostics) == 100
    prompt = f'<prompt schema="travel" days="3">{"<wrong/>" * 5000}</prompt>'
    assert len(diagnose_prompt(prompt, "p", TRAVEL).diagnostics) == 100


def test_an_included_file_has_places_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a\n\xff")
    schema = '<schema name="s"><modul/><module src="bad.txt"/></schema>'
    found = diagnose_schema(schema, "s.pml", src_root=tmp_path).diagnostics
    assert [str(one.at) for one in found] == [f"{tmp_path}/bad.txt:2:1", "s.pml:1:18"]
    assert found[0].end is None


def test_a_diagnostic_is_a_line() -> None:
    at = Location("a.pml", 2, 3)
    assert str(Diagnostic("limit", "too large")) == "too large"
    assert str(Diagnostic("limit", "too large", at)) == "a.pml:2:3: too large"
    warned = Diagnostic("union-lengths", "members differ", at, severity="warning")
    assert str(warned) == "a.pml:2:3: warning: members differ [union-lengths]"


def test_ranges_count_characters_whatever_ends_a_line() -> None:
    lines = Lines(b"\xef\xbb\xbf<\xc3\xa9>\r\nab cd\r<x y='\xe2\x80\x94\n'/>", "f")
    assert [lines.line(number) for number in (1, 2, 3, 4, 5)] == [
        "<é>", "ab cd", "<x y='—", "'/>", "",
    ]  # fmt: skip
    assert lines.end_of(Location("f", 1, 1)) == Location("f", 1, 3)
    assert lines.end_of(Location("f", 2, 4)) == Location("f", 2, 6)
    assert lines.end_of(Location("f", 3, 4)) == Location("f", 4, 2)
    assert lines.end_of(Location("f", 4, 4)) == Location("f", 4, 4)
    assert lines.end_of(Location("f", 9, 1)) is lines.end_of(Location("g", 1, 1)) is None
    assert lines.end_of(None) is None


PIECES = [
    *["text", " ", "\n", "&", "<!-- c -->", "<user>", "</user>", "<x/>", "<param/>", "</module>"],
    *["<module>", "<module name='a'>", "<module name='user' src='x'>", "<union>", "</union>"],
    *["<param name='p' len='3'/>", "<param name='p' len='0' space=''>", "<scaffold modules='a'/>"],
    *["<use/>", "<notes/>", "<plan>", "</plan>", "<home city='x'/>", "<arg name='city'>", "</arg>"],
    *["<use module=' '/>", "<plan style='1' stile='2'>", "<prompt/>", "<schema/>", "<scaffold/>"],
]


@pytest.mark.fuzz
def test_collecting_finds_what_raising_finds() -> None:
    """The two ways through the readers are one: no error without the other, the first among all."""
    rng = random.Random(7)
    wrong = several = 0
    for _ in range(5000):
        opening = rng.choice(["<schema name='s'>", "<prompt schema='travel' days='3'>"])
        pieces = [rng.choice(PIECES) for _ in range(rng.randrange(6))]
        closing = [p for p in reversed(pieces) if p.startswith("<") and not p.startswith("</")]
        tags = [p[1:].split(" ")[0].rstrip(">") for p in closing if not p.endswith(("/>", "->"))]
        text = opening + "".join(p for p in pieces if not p.startswith("</"))
        text += "".join(f"</{tag}>" for tag in tags) + f"</{opening[1:7]}>"
        found = [str(one) for one in diagnose(text).diagnostics]
        first = first_error(text)
        assert (first is None) == (not found), text
        assert first is None or first in found, text
        wrong, several = wrong + bool(found), several + (len(found) > 1)
    assert wrong > 2000 and several > 1000
