"""`pml` on the command line where it needs no weights: `check`, `map`, exit codes."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from runpy import run_path

import pytest
from tiny_tokenizer import write_folder
from trip import TOO_LONG, be_at, pml, told, write_documents
from typer.testing import CliRunner

from pml import __main__
from pml.cli import app
from pml.cli.documents import tell
from pml.errors import Location, PMLError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `trip.pml`, `ask.pml` and `tiny`, a model's folder without weights."""
    folder = tmp_path_factory.mktemp("home")
    write_folder(folder / "tiny")
    write_documents(folder)
    return folder


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_at(home, monkeypatch)


class TestCheck:
    def test_right_documents(self) -> None:
        done = pml("check", "trip.pml", "ask.pml", '<prompt schema="trip">Hello</prompt>')
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "trip.pml: 4 modules, 1 union, 1 parameter",
            "ask.pml: fits",
            "<prompt>: fits",
        ]

    def test_every_wrong_document_gets_its_lines(self) -> None:
        bad = '<prompt schema="trip"><roma/><rome/><goa/></prompt>'
        done = pml("check", "trip.pml", bad, "ask.pml", "<promt/>")
        assert done.exit_code == 3
        assert "ask.pml: fits" in done.stdout.splitlines()
        first, second, third = done.stderr.splitlines()
        assert first.startswith("<prompt>:1:23: ") and "did you mean 'rome'?" in first
        assert second.startswith("<prompt>:1:37: the prompt imports both 'rome'")
        assert third.startswith("<prompt>:1:1: ")

    def test_a_wrong_schema(self, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.pml"
        wrong.write_text('<schema name="s">\n  <modul name="a"/>\n</schema>')
        done = pml("check", wrong, "ask.pml")
        assert (done.exit_code, done.stdout) == (3, "")
        assert done.stderr.startswith(f"{wrong}:2:3: ")
        assert len(done.stderr.splitlines()) == 1

    def test_with_a_model_lengths_are_checked_too(self) -> None:
        assert pml("check", "trip.pml", TOO_LONG).exit_code == 0
        done = pml("check", "trip.pml", TOO_LONG, "--model", "tiny")
        assert done.exit_code == 3
        assert "its parameter holds 6" in done.stderr
        assert "1 parameter, " in done.stdout and done.stdout.endswith(" positions\n")
        far = f'<prompt schema="trip">{"sea " * 500}</prompt>'
        done = pml("check", "trip.pml", far, "--model", "tiny")
        assert (done.exit_code, "the model's context ends at 511" in done.stderr) == (3, True)


class TestMap:
    def test_regions_and_gaps_as_json(self) -> None:
        content = told("map", "trip.pml", "--model", "tiny")
        assert content.keys() == {
            "version", "schema", "layout", "attention", "length", "regions",
        }  # fmt: skip
        regions = {(region["kind"], region["path"]): region for region in content["regions"]}
        rome, goa = regions["module", "/rome"], regions["module", "/goa"]
        assert rome["start"] == goa["start"] == regions["union", "/"]["start"]
        assert regions["union", "/"]["name"] == "rome | goa"
        assert regions["parameter", "/when:month"]["length"] == 6
        assert regions["module", "/rome/food"]["depth"] == 2

    def test_a_prompt_as_json(self) -> None:
        asked = told("map", "trip.pml", "ask.pml", "--model", "tiny")["prompt"]
        lengths = dict.fromkeys(("cached", "fresh", "ghost"), 0)
        for span in asked["spans"]:
            lengths[span["kind"]] += span["length"]
        assert asked["cached_tokens"] == lengths["cached"] > 0
        assert asked["fresh_tokens"] == lengths["fresh"] > 0

    def test_a_schema_alone(self) -> None:
        done = pml("map", "trip.pml", "--model", "tiny")
        assert done.exit_code == 0 and "the whole prompt" not in done.stdout

    def test_rulers_for_people(self) -> None:
        done = pml("map", "trip.pml", "ask.pml", "--model", "tiny")
        assert (done.exit_code, done.stderr) == (0, "")
        assert "\n  ╭ rome " in done.stdout and "\n  ╰ goa " in done.stdout
        assert "\nthe whole prompt " in done.stdout and "▓" in done.stdout
        assert max(map(len, done.stdout.splitlines())) == 100

    def test_a_picture(self) -> None:
        done = pml("map", "trip.pml", "ask.pml", "--model", "tiny", "--svg")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.startswith("<svg ") and done.stdout.endswith("</svg>\n")
        assert "prompt of schema trip" in done.stdout
        assert "prompt of" not in pml("map", "trip.pml", "--model", "tiny", "--svg").stdout

    def test_in_ascii_where_nothing_else_can_be_shown(self) -> None:
        done = CliRunner(charset="ascii").invoke(
            app, ["map", "trip.pml", "ask.pml", "--model", "tiny"]
        )
        assert done.exit_code == 0
        assert "/ rome" in done.stdout and "?" not in done.stdout


class TestExitCodes:
    @pytest.mark.parametrize(
        ("arguments", "code", "line"),
        [
            (("map", "trip.pml", "--model", "none"), 1, "error: none: no such folder; `minillm "),
            (("map", "trip.pml", "--model", "."), 1, "error: .: no roles.json in it; `minillm "),
            (("check", "."), 1, "error: .: Is a directory"),
            (("travel",), 2, "No such command 'travel'"),
            (("map", "trip.pml", "--model", "tiny", "--json", "--svg"), 2, "--json and --svg are"),
            (("check", "trip.pml", "--json", "--sarif"), 2, "--json and --sarif are two forms"),
        ],
    )
    def test_each_has_its_code(self, arguments: tuple[str, ...], code: int, line: str) -> None:
        done = pml(*arguments)
        assert (done.exit_code, done.stdout) == (code, "")
        assert line in done.stderr
        assert code == 2 or len(done.stderr.splitlines()) == 1


def test_the_program_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pml", "check", "trip.pml"])
    with pytest.raises(SystemExit) as end:
        run_path(__main__.__file__, run_name="__main__")
    assert end.value.code == 0


def test_ctrl_c_before_a_command_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pml.cli.main", interrupted)
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 130


def test_the_version_is_the_distribution_s() -> None:
    done = pml("--version")
    name = "modular-prompt-cache"
    assert (done.exit_code, done.stdout) == (0, f"{name} {version(name)}\n")


def test_a_place_that_cannot_be_shown_is_told_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for at in (Location("nowhere.pml", 1, 1), Location("trip.pml", 99, 1)):
        tell(PMLError("wrong", at, code="limit"), excerpts=True)
        assert capsys.readouterr().err == f"{at}: wrong\n"
