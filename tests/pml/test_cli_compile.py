"""`pml compile`: what it prints and writes, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pml.cli import app
from pml.program import read_program
from pml.prompt import parse_prompt
from pml.schema import parse_schema

EXAMPLE = Path(__file__).parents[2] / "examples" / "programs" / "travel.py"
ARGUMENTS = '{"place": "coast", "duration": "a week", "question": "Where to?", "swim": true}'


def pml(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compile", *map(str, arguments)])


def test_the_schema_is_printed() -> None:
    done = pml(f"{EXAMPLE}:travel")
    assert (done.exit_code, done.stderr) == (0, "")
    assert parse_schema(done.stdout) == read_program(EXAMPLE, "travel").schema


def test_the_schema_is_written_and_the_prompt_printed(tmp_path: Path) -> None:
    done = pml(f"{EXAMPLE}:travel", "-o", tmp_path / "travel.pml", "--arguments", ARGUMENTS)
    assert (done.exit_code, done.stderr) == (0, "")
    prompt = read_program(EXAMPLE, "travel")("coast", "a week", "Where to?", swim=True)
    assert parse_prompt(done.stdout) == prompt
    assert parse_schema((tmp_path / "travel.pml").read_bytes()).name == "travel"
    assert pml(f"{EXAMPLE}:sea", "-o", tmp_path / "sea.pml").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["travel.py"], 2, "error: travel.py: expected FILE.py:FUNCTION"),
        (["nowhere.py:f"], 1, "error: nowhere.py: No such file or directory"),
        ([f"{EXAMPLE}:see"], 3, "did you mean 'sea'?"),
        ([f"{EXAMPLE}:sea", "-a", "{"], 2, "error: --arguments: no JSON: Expecting property name"),
        ([f"{EXAMPLE}:sea", "-a", "[1]"], 2, "error: --arguments: expected an object, as in {"),
        ([f"{EXAMPLE}:sea", "-a", "{}"], 2, "error: --arguments for sea: missing a required"),
    ],
)
def test_what_goes_wrong_is_one_line(arguments: list[str], code: int, line: str) -> None:
    done = pml(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
