"""What `editors/` says of the language is what the language is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pml.description import PROMPT, SCHEMA

FOLDER = Path(__file__).parent.parent / "editors" / "vscode"
GRAMMAR = FOLDER / "syntaxes" / "pml.tmLanguage.json"
SCOPES = {
    "keyword.control.document.pml": {"schema", "prompt"},
    "keyword.control.role.pml": {"system", "user", "assistant"},
    "entity.name.tag.declaration.pml": {"module", "union", "param", "parameter", "scaffold"},
    "entity.name.tag.use.pml": {"use", "arg"},
}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def scope_of(tag: str) -> str:
    """The scope of a tag's name, by the grammar's own pattern."""
    opening = read(GRAMMAR)["repository"]["opening"]
    match = re.match(opening["begin"], f"<{tag} ")
    assert match is not None and match.lastindex is not None
    assert match[match.lastindex] == tag
    scope: str = opening["beginCaptures"][str(match.lastindex)]["name"]
    return scope


def test_the_files_that_the_extension_names_are_there() -> None:
    package = read(FOLDER / "package.json")
    (language,) = package["contributes"]["languages"]
    (grammar,) = package["contributes"]["grammars"]
    assert language["extensions"] == [".pml"]
    assert read(FOLDER / language["configuration"])["comments"]
    assert read(FOLDER / grammar["path"])["scopeName"] == grammar["scopeName"]
    assert (FOLDER / package["main"]).is_file()


def test_the_grammar_knows_every_tag_of_the_language_and_takes_others_for_imports() -> None:
    assert set().union(*SCOPES.values()) == {*SCHEMA, *PROMPT}
    for scope, tags in SCOPES.items():
        assert {scope_of(tag) for tag in tags} == {scope}
    for name in ("city", "user-guide", "my.module", "modules", "über"):
        assert scope_of(name) == "entity.name.function.import.pml"


@pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules").is_dir(),
    reason="needs `npm install` in editors/vscode",
)
def test_the_grammar_in_the_editors_own_engine() -> None:
    done = subprocess.run(["node", "test/grammar.js"], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
