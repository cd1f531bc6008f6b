"""`pml check` for people, programs and CI: lines, excerpts, JSON, SARIF, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from tiny_tokenizer import write_folder
from typer.testing import CliRunner, Result

from pml.cli import app
from pml.diagnostics import Diagnostic
from pml.errors import Location, Related
from pml.sarif import sarif

TRIP = """<schema name="trip">
  <module name="rome">To Rome.<module name="food"/></module>
  <module name="goa">To Goa.</module>
</schema>
"""
WRONG = """<prompt schema="trip">
  <rome><fod/></rome> <oslo/>
</prompt>
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_folder(folder / "tiny", max_positions=64)
    (folder / "trip.pml").write_text(TRIP)
    (folder / "wrong.pml").write_text(WRONG)
    (folder / "ask.pml").write_text('<prompt schema="trip"><rome/>How?</prompt>')
    return folder


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "80")


def check(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["check", *arguments], input=stdin)


def test_all_errors_with_their_lines_if_asked_for() -> None:
    done = check("trip.pml", "wrong.pml", "--excerpts")
    assert done.exit_code == 3
    assert done.stderr.splitlines() == [
        "wrong.pml:2:9: module 'rome' holds no module 'fod'; expected 'food'; did you mean 'food'?",
        "    <rome><fod/></rome> <oslo/>",
        "          ^^^^",
        "wrong.pml:2:23: the schema's root holds no module 'oslo'; expected 'rome' or 'goa'",
        "    <rome><fod/></rome> <oslo/>",
        "                        ^^^^^",
    ]
    assert len(check("trip.pml", "wrong.pml").stderr.splitlines()) == 2


def test_a_long_line_is_cut_around_the_place() -> None:
    done = check("--excerpts", f'<prompt schema="s">{"long " * 40}<arg/>{"long " * 40}</prompt>')
    _, line, carets = done.stderr.splitlines()
    assert len(line) <= 80 and line[carets.index("^") :].startswith("<arg/>long")


def test_prompts_go_with_the_schema_that_they_name() -> None:
    other = '<schema name="other"><module name="x"/></schema>'
    asked = '<prompt schema="other"><x/></prompt>'
    done = check("ask.pml", other, "trip.pml", asked)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "<schema>: 1 module", "trip.pml: 3 modules", "ask.pml: fits", "<prompt>: fits",
    ]  # fmt: skip
    assert check("trip.pml", other, asked.replace("<x/>", "<y/>")).exit_code == 3
    third = check("ask.pml", other, "trip.pml", '<prompt schema="tripp"/>')
    assert third.exit_code == 3 and third.stderr == (
        "<prompt>:1:1: no schema 'tripp'; expected 'other' or 'trip'; did you mean 'trip'?\n"
    )
    broken = check("ask.pml", "<schema/>", "trip.pml", '<prompt schema="third"/>')
    assert broken.exit_code == 3 and "third" not in broken.stderr  # it may be that one's
    alone = check('<prompt schema="third"/>')
    assert (alone.exit_code, alone.stdout) == (0, "<prompt>: no schema given\n")
    assert check("trip.pml", asked).exit_code == 3  # the one schema is meant
    assert check("-", "ask.pml", stdin=TRIP).stdout == "<stdin>: 3 modules\nask.pml: fits\n"


def test_warnings_and_exit_codes() -> None:
    everything = ("trip.pml", "ask.pml", "--all-prompts")
    done = check(*everything)
    assert done.exit_code == 0
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        "warning: module 'rome/food' is imported by none of 1 prompt [unused-module]",
        "warning: module 'goa' is imported by none of 1 prompt [unused-module]",
    ]
    assert check(*everything, "--strict").exit_code == 1
    quiet = check(*everything, "--strict", "--ignore", "unused-module")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    unknown = check(*everything, "--ignore", "encoding")
    assert unknown.exit_code == 2 and "is no warning" in unknown.stderr
    assert check("nowhere.pml").exit_code == 1
    wrong = check(*everything, "wrong.pml")  # what a wrong prompt would use is not known
    assert wrong.exit_code == 3 and "unused-module" not in wrong.stderr


def test_what_takes_a_tokenizer_has_a_place_too() -> None:
    long = f'<schema name="s"><module name="m">{"sea " * 90}</module></schema>'
    done = check(long, "--model", "tiny")
    assert done.exit_code == 0 and "[schema-context]" in done.stderr
    bad = '<schema name="s">\n<param name="p" len="1" default="one two three"/></schema>'
    done = check(bad, "--model", "tiny")
    assert done.exit_code == 3 and done.stderr.startswith("<schema>:2:1: the default of ")
    assert done.stdout == ""


def test_gaps_cost_where_distance_does(home: Path) -> None:
    union = f"<union><module name='x'>{'sea ' * 24}</module><module name='y'/></union>"
    documents = (f"<schema name='s'>{union}go</schema>", "<prompt schema='s'><y/>now</prompt>")
    assert check(*documents, "--model", "tiny").stderr == ""
    config = write_folder(home / "alibi", max_positions=64, scheme="alibi") / "config.json"
    done = check(*documents, "--model", "alibi")
    assert done.exit_code == 0 and "[alibi-gap]" in done.stderr
    config.write_text("{}")
    done = check(*documents, "--model", "alibi")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1


def test_json() -> None:
    done = check("trip.pml", "wrong.pml", "ask.pml", "--json")
    assert (done.exit_code, done.stderr) == (3, "")
    content = json.loads(done.stdout)
    assert content.keys() == {"version", "errors", "warnings", "documents", "diagnostics"}
    assert (content["version"], content["errors"], content["warnings"]) == (1, 2, 0)
    assert content["documents"] == [
        {"file": "trip.pml", "kind": "schema", "schema": "trip", "ok": True},
        {"file": "wrong.pml", "kind": "prompt", "schema": None, "ok": False},
        {"file": "ask.pml", "kind": "prompt", "schema": "trip", "ok": True},
    ]
    assert content["diagnostics"][0] == {
        "code": "unknown-module",
        "message": "module 'rome' holds no module 'fod'; expected 'food'; did you mean 'food'?",
        "at": {"file": "wrong.pml", "line": 2, "column": 9},
        "end": {"file": "wrong.pml", "line": 2, "column": 13},
        "severity": "error",
        "suggestion": "food",
        "related": [],
    }


def described(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


TEXT = described({"text": {"type": "string"}}, "text")
COUNT = {"type": "integer", "minimum": 1}
REGION = described(
    {"startLine": COUNT, "startColumn": COUNT, "endLine": COUNT, "endColumn": COUNT}, "startLine"
)
ARTIFACT = described({"uri": {"type": "string", "pattern": "^[!#-;=?-\\[\\]_a-z~%]*$"}}, "uri")
PLACE = described({"artifactLocation": ARTIFACT, "region": REGION}, "artifactLocation")
LOCATION = described({"physicalLocation": PLACE, "message": TEXT}, "physicalLocation")
RULE = described({"id": {"type": "string"}, "shortDescription": TEXT}, "id")
DRIVER = described(
    {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "rules": {"type": "array", "uniqueItems": True, "items": RULE},
    },
    "name",
)
RESULT = described(
    {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": TEXT,
        "locations": {"type": "array", "items": LOCATION},
        "relatedLocations": {"type": "array", "uniqueItems": True, "items": LOCATION},
    },
    "message",
)
RUN = described(
    {
        "tool": described({"driver": DRIVER}, "driver"),
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": {"type": "array", "items": RESULT},
    },
    "tool",
)
SARIF = described(
    {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"enum": ["2.1.0"]},
        "runs": {"type": "array", "items": RUN},
    },
    "version",
    "runs",
)
"""What SARIF 2.1.0 (OASIS, sections 3.13 to 3.30) says of the properties used here."""


def test_sarif() -> None:
    twice = '<prompt schema="trip"><goa/><goa/></prompt>'
    long = f'<schema name="s"><module name="m">{"sea " * 90}</module></schema>'
    done = check("trip.pml", long, "wrong.pml", twice, "--sarif", "--model", "tiny")
    assert (done.exit_code, done.stderr) == (3, "")
    content = json.loads(done.stdout)
    Draft7Validator(SARIF).validate(content)
    (run,) = content["runs"]
    assert [(result["level"], result["ruleId"]) for result in run["results"]] == [
        ("warning", "schema-context"),
        *[("error", "unknown-module")] * 2,
        ("error", "repeated-import"),
    ]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    place = run["results"][1]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "wrong.pml"},
        "region": {"startLine": 2, "startColumn": 9, "endLine": 2, "endColumn": 13},
    }
    (first,) = run["results"][3]["relatedLocations"]
    assert first["physicalLocation"]["artifactLocation"] == {"uri": "%3Cprompt%3E"}


def test_sarif_of_any_file_and_of_no_place() -> None:
    at = Location("/a b/é.pml", 1, 1)
    found = [
        Diagnostic("limit", "too large"),
        Diagnostic("limit", "x", at, severity="info", related=(Related(at, "here"),)),
    ]
    content = sarif(found)
    Draft7Validator(SARIF).validate(content)
    first, second = content["runs"][0]["results"]
    assert "locations" not in first and second["level"] == "note"
    uri = second["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "file:///a%20b/%C3%A9.pml"
    assert sarif([])["runs"][0]["results"] == []
