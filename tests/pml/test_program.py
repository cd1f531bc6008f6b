"""Prompt programs: every path says what Python says, and the schema is always the same."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import plain_python
import prompt_functions
import pytest

from minillm.tokenizer import ByteTokenizer
from pml.nodes import ModulePath, Prompt, PromptImport, PromptModule, Schema, children_of
from pml.planner import Planner
from pml.program import PromptProgram, read_program
from pml.prompt import check_prompt, parse_prompt
from pml.schema import parse_schema
from pml.writer import write_prompt

FILE = Path(prompt_functions.__file__)
PLAIN = plain_python.PlainPython(FILE)
BYTES = ByteTokenizer(bos=False)


def program_of(name: str) -> PromptProgram[...]:
    program: PromptProgram[...] = getattr(prompt_functions, name)
    return program


def called(name: str, arguments: dict[str, Any]) -> Prompt:
    program = program_of(name)
    kinds = [parameter.kind for parameter in program.signature.parameters.values()]
    positional = kinds.count(inspect.Parameter.POSITIONAL_ONLY)
    items = list(arguments.items())
    return program(*(value for _, value in items[:positional]), **dict(items[positional:]))


def tokens_of(said: list[str | tuple[str, str]]) -> list[int]:
    tokens: list[int] = []
    for part in said:
        if isinstance(part, str):
            tokens += part.encode()
        else:
            markers = BYTES.roles[part[1]]
            tokens += markers.open if part[0] == "open" else markers.close
    return tokens


def test_there_are_25_functions_and_all_have_cases() -> None:
    names = set(read_program(FILE, "plain").file.functions())
    assert names == set(prompt_functions.CASES)
    assert len(names) >= 25


@pytest.mark.parametrize("name", prompt_functions.CASES)
def test_every_path_says_what_python_says(name: str) -> None:
    """Issue 4, must show 6. The prompt goes the whole way: written as PML, read, laid out, planned;
    the tokens that the plan selects are those of the texts that Python collects."""
    schema = parse_schema(program_of(name).pml)
    planner = Planner.of(schema, BYTES, 10_000)
    for arguments in prompt_functions.CASES[name]:
        prompt = parse_prompt(write_prompt(called(name, arguments)))
        check_prompt(prompt, schema)
        said = PLAIN(name, arguments)
        expected = tokens_of(said)
        if not expected:
            assert not any(said)
            continue
        found = planner.plan(prompt).selected()
        assert found[: len(expected)] == expected, arguments
        assert found[len(expected) :] in ([], list(BYTES.roles["assistant"].open)), arguments


@pytest.mark.parametrize("name", prompt_functions.CASES)
def test_the_schema_is_the_same_whatever_the_arguments(name: str) -> None:
    program = program_of(name)
    before = program.pml
    for arguments in prompt_functions.CASES[name]:
        called(name, arguments)
        assert program.pml == before
    assert parse_schema(before) == program.schema
    assert read_program(FILE, name).schema == program.schema


@pytest.mark.parametrize("name", prompt_functions.CASES)
def test_the_cases_take_every_branch_and_skip_what_can_be_skipped(name: str) -> None:
    program = program_of(name)
    chosen = [selected(called(name, arguments)) for arguments in prompt_functions.CASES[name]]
    for path, skippable in paths_of(program.schema).items():
        assert any(path in each for each in chosen), path
        assert not skippable or any(path not in each for each in chosen), path


def selected(given: Prompt | PromptImport, path: ModulePath = ()) -> set[ModulePath]:
    found = set()
    for child in given.children:
        assert isinstance(child, PromptImport)
        inner = (*path, child.name)
        found |= {inner, *selected(child, inner)}
    return found


def paths_of(owner: Schema | PromptModule, path: ModulePath = ()) -> dict[ModulePath, bool]:
    """The modules below the owner, and whether some prompt should be without: all but calls."""
    found = {}
    for name, module in children_of(owner).items():
        is_call = name.rstrip("-23456") in prompt_functions.CASES
        found |= {(*path, name): not is_call, **paths_of(module, (*path, name))}
    return found
