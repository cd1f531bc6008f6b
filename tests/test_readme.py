"""What README and docs say is there is there, and what they show runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import fields as of
from inspect import signature
from itertools import pairwise
from pathlib import Path

import pytest

import minillm
import pml
from minillm.tokenizer import ByteTokenizer
from pml import Batch, Chat, Completion, Delta, PromptCache, Service, Timings, Usage
from pml.planner import Planner
from pml.prompt import parse_prompt
from pml.schema import parse_schema

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for name, body in fences if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
            assert anchor in slugs, target


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for page in PAGES for target in re.findall(r"`?make ([a-z]+)", page.read_text())
    }
    assert {"demo", "test"} <= named & targets
    assert {name for name in named if name not in {"up"}} <= targets


def test_nothing_is_left_to_be_filled_in() -> None:
    for page in PAGES:
        assert not re.search(r"^[A-Z]{4,}$|TODO|FIXME", page.read_text(), re.MULTILINE), page


def test_the_file_tree_is_true() -> None:
    tree = next(block for block in blocks(README, "") if "minillm/" in block)
    named = re.findall(r"^(\w+/)", tree, re.MULTILINE)
    assert {"minillm/", "pml/", "tests/", "docs/", "examples/", "scripts/"} <= set(named)
    for folder in named:
        assert (ROOT / folder).is_dir(), folder


def test_every_file_in_the_architecture_is_there_and_the_other_way_round() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for package in ("minillm", "pml"):
        section = text.split(f"## {package}:")[1].split("\n## ")[0]
        rows = "\n".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))
        named = re.findall(r"`([\w*]+(?:\.py|/))`", rows)
        found = {path for name in named for path in (ROOT / package).glob(name)}
        actual = {p for p in (ROOT / package).iterdir() if p.suffix == ".py" or p.is_dir()}
        extra = {p.name for p in actual - found} - {"__init__.py", "__pycache__"}
        assert not extra, f"{package}: not in docs/architecture.md: {extra}"
        assert all(list((ROOT / package).glob(name)) for name in named)


def test_the_documents_in_the_language_page_are_right() -> None:
    """Each prompt goes with the schema before it."""
    documents = blocks((ROOT / "docs" / "language.md").read_text(), "xml")
    assert len(documents) == 4
    for schema, prompt in pairwise(documents):
        if schema.startswith("<schema"):
            planner = Planner.of(parse_schema(schema), ByteTokenizer(), 4096)
            assert planner.plan(parse_prompt(prompt)).num_cached > 50


def test_the_programs_page_is_right(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "programs.md").read_text()
    program, built = blocks(text, "python")
    (shown,) = blocks(text, "xml")
    path = tmp_path / "prompts.py"
    path.write_text(f"{program}from pml import write_prompt\nprint(write_prompt(prompt), end='')\n")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (shown, "")
    done = subprocess.run([sys.executable, "-c", built], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for command in blocks(text, "sh")[0].splitlines():
        arguments = shlex.split(command)[1:]
        code = f"import sys; sys.argv = {['pml', *arguments]}; from pml.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.model
def test_the_chats_page_is_right() -> None:
    (code,) = blocks((ROOT / "docs" / "chat.md").read_text(), "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "tokens computed of" in done.stdout


def test_the_api_page_names_all_that_is_exported() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    told = (Completion, Usage, Timings, Delta, minillm.LoadedModel, minillm.Sampling)
    names = [field.name for kind in told for field in of(kind)]
    names += [name for kind in (PromptCache, minillm.load) for name in signature(kind).parameters]
    names += [name for kind in (Batch, Chat, Service) for name in vars(kind) if name[0] != "_"]
    for name in (*pml.__all__, *minillm.__all__, *names):
        assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", text), name


@pytest.mark.model
def test_the_api_page_runs_as_one_session() -> None:
    code = "".join(blocks((ROOT / "docs" / "api.md").read_text(), "python"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no module 'trp'" in done.stdout and "unknown-module trip" in done.stdout


@pytest.mark.model
def test_the_programs_of_how_it_works_run() -> None:
    told = ("engine and oracle differ by", "stop\n")
    codes = blocks((ROOT / "docs" / "how-it-works.md").read_text(), "python")
    for code, line in zip(codes, told, strict=True):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert line in done.stdout


@pytest.mark.model
def test_the_ten_lines_run() -> None:
    (code,) = blocks(README, "python")
    assert len(code.strip().splitlines()) <= 12
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "tokens reused" in done.stdout


COMMANDS = [
    line.split("#")[0]
    for block in blocks(README, "sh")
    for line in block.splitlines()
    if re.match(r"\.venv/bin/(pml|minillm) ", line) and "demo" not in line and "path/to" not in line
]


@pytest.mark.model
@pytest.mark.parametrize("command", [c for c in COMMANDS if "my-model" not in c])
def test_a_command_of_the_readme_runs(command: str) -> None:
    program, *arguments = shlex.split(command)
    package = Path(program).name
    if arguments[0] in ("run", "compare"):
        arguments += ["--max-tokens", "2"]
    code = f"from {package}.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
