"""`pml run --store` and `pml store`: kept states, in the tools' own words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_checkpoint
from typer.testing import CliRunner

from pml.cli import app
from pml.store import StoreError, open_store

SCHEMA = """<schema name="trip">You plan travel by train for all of us who wait.
  <module name="rome">To Rome: the old streets.</module>
  <module name="goa">To Goa: the sea and the sun.</module>
</schema>"""
ROME = '<prompt schema="trip"><rome/>When to go there by train?</prompt>'


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_checkpoint(folder / "tiny")
    (folder / "schema.pml").write_text(SCHEMA)
    (folder / "rome.pml").write_text(ROME)
    return folder


def pml(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def told(*arguments: object) -> dict[str, Any]:
    content = json.loads(pml(*arguments, "--json"))
    assert isinstance(content, dict)
    return content


def run(trip: Path, folder: Path) -> dict[str, Any]:
    documents = (trip / "schema.pml", trip / "rome.pml")
    return told("run", *documents, "--model", trip / "tiny", "--max-tokens", 4, "--store", folder)


def test_a_second_process_encodes_nothing(trip: Path, tmp_path: Path) -> None:
    first, second = run(trip, tmp_path), run(trip, tmp_path)
    assert first["usage"]["encoded_tokens"] > 0 == second["usage"]["encoded_tokens"]
    assert first["tokens"] == second["tokens"]


def test_states_are_listed_shown_pinned_and_collected(trip: Path, tmp_path: Path) -> None:
    run(trip, tmp_path)
    run(trip, tmp_path)
    listed = told("store", "ls", tmp_path)
    assert {one["label"] for one in listed["shown"]} == {"/", "/rome"}
    assert {one["hits"] for one in listed["shown"]} == {1}
    assert "/rome" in pml("store", "ls", tmp_path)
    (rome,) = told("store", "ls", tmp_path, "--path", "/rome")["shown"]
    (shown,) = told("store", "show", tmp_path, rome["key"][:12])["shown"]
    assert shown == rome
    read = pml("store", "show", tmp_path, rome["key"][:12])
    assert re.search(r"^used +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$", read, re.MULTILINE)
    first = told("store", "ls", tmp_path, "--limit", 1)
    second = told("store", "ls", tmp_path, "--limit", 1, "--after", first["shown"][0]["key"])
    assert first["more"] and not second["more"]
    assert [*first["shown"], *second["shown"]] == listed["shown"]
    pml("store", "pin", tmp_path, rome["key"])
    assert told("store", "gc", tmp_path, "--max-bytes", 0)["states"] == 1
    pml("store", "unpin", tmp_path, rome["key"])
    assert told("store", "gc", tmp_path, "--max-days", 0)["states"] == 1
    assert told("store", "ls", tmp_path)["states"] == 0


def test_damage_is_told_with_a_code_of_its_own(trip: Path, tmp_path: Path) -> None:
    run(trip, tmp_path)
    assert told("store", "verify", tmp_path) == {
        "version": 1,
        "checked": 2,
        "damaged": 0,
        "found": 0,
    }
    path = next((tmp_path / "states").glob("*/*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "2 states checked, 1 damaged" in pml("store", "verify", tmp_path, code=4)
    assert run(trip, tmp_path)["usage"]["encoded_tokens"] > 0
    assert "0 damaged" in pml("store", "verify", tmp_path)


def test_what_no_store_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file: no folder for a store: File exists"):
        open_store(tmp_path / "file")
    with pytest.raises(ValueError, match="policy is 'mru', expected"):
        open_store(policy="mru")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="memory is -1, expected bytes"):
        open_store(memory=-1)


def test_states_are_carried_to_another_store(trip: Path, tmp_path: Path) -> None:
    run(trip, tmp_path / "here")
    file = tmp_path / "rome.states"
    assert told("store", "export", tmp_path / "here", file)["states"] == 2
    nowhere = ("store", "export", tmp_path / "here", tmp_path / "none", "--path", "/trip")
    assert "no state of /trip; see `pml store ls`" in pml(*nowhere, code=1)
    assert not (tmp_path / "none").exists()
    assert told("store", "import", tmp_path / "there", file)["new"] == 2
    assert told("store", "import", tmp_path / "there", file)["known"] == 2
    assert run(trip, tmp_path / "there")["usage"]["encoded_tokens"] == 0
    data = bytearray(file.read_bytes())
    data[data.index(b"__metadata__") + 2000] ^= 1
    file.write_bytes(data)
    assert "is damaged" in pml("store", "import", tmp_path / "new", file, code=1)
    file.write_bytes(b"no tar file")
    assert "no exported states" in pml("store", "import", tmp_path / "new", file, code=1)


def test_what_is_no_store_is_said_in_one_line(trip: Path, tmp_path: Path) -> None:
    assert f"{tmp_path}: no store; `pml run --store" in pml("store", "ls", tmp_path, code=1)
    (tmp_path / "notes").touch()
    documents = (trip / "schema.pml", trip / "rome.pml", "--model", trip / "tiny")
    assert "no store, it holds 'notes'" in pml("run", *documents, "--store", tmp_path, code=1)
    assert run(trip, tmp_path / "new")["tokens"]
    assert "no state has this key" in pml("store", "show", tmp_path / "new", "abc", code=1)
