"""Prompt programs: every path says what Python says, and the schema is always the same."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import plain_python
import prompt_functions
import pytest

from minillm.tokenizer import ByteTokenizer
from pml.nodes import (
    ModulePath,
    Prompt,
    PromptImport,
    PromptModule,
    PromptText,
    Schema,
    children_of,
)
from pml.planner import Planner
from pml.program import (
    PMLProgramError,
    PromptProgram,
    Tokens,
    assistant,
    prompt_program,
    read_program,
    system,
    user,
)
from pml.program.compiler import MOST_STATEMENTS
from pml.program.naming import branch_names
from pml.program.source import parse_file
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
    kinds = [parameter.kind for parameter in inspect.signature(program).parameters.values()]
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
    names = set(parse_file(FILE.read_text(), "f").functions())
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


def test_the_example_says_what_python_says() -> None:
    path = FILE.parents[2] / "examples" / "programs" / "travel.py"
    program, plain = read_program(path, "travel"), plain_python.PlainPython(path)
    planner = Planner.of(program.schema, BYTES, 10_000)
    for arguments in prompt_functions.every(
        place=("city", "coast", "island", "anywhere"),
        duration=("a week",),
        question=("Where do I start?",),
        swim=(True, False),
        frugal=(True, False),
    ):
        expected = tokens_of(plain("travel", arguments))
        assert planner.plan(program(**arguments)).selected()[: len(expected)] == expected


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


def compiled(body: str, head: str = "from pml.program import *") -> PromptProgram[...]:
    """The program `f` of a file with this body under its `def`."""
    return PromptProgram(f"{head}\n@prompt_program\n{body}\n", "p.py", "f")


def refused(program: PromptProgram[...]) -> str:
    with pytest.raises(PMLProgramError) as caught:
        _ = program.schema
    return str(caught.value)


def test_an_else_is_compiled() -> None:
    """The public prompt-cache compiler drops the `else` of an `if`."""
    assert prompt_functions.either.schema == parse_schema(
        "<schema name='either'><union required='true'><module name='formal' space='preserve'>"
        "Dear Sir or Madam, </module><module name='not-formal' space='preserve'>Hi, </module>"
        "</union>thanks.</schema>"
    )
    assert selected(prompt_functions.either(False)) == {("not-formal",)}


def test_every_statement_of_a_branch_is_compiled() -> None:
    """The public prompt-cache compiler keeps the first statement of a branch only."""
    assert "First. Second. " in prompt_functions.several_statements.pml
    assert "Third." in prompt_functions.several_statements.pml


def test_a_match_on_an_int_is_compiled() -> None:
    """The public prompt-cache compiler loses a `match` on an int."""
    members = ["stars-1", "stars-2-or-3-or-4", "stars-5", "stars-minus-1", "stars-2.5"]
    assert list(children_of(prompt_functions.match_on_int.schema)) == members
    assert selected(prompt_functions.match_on_int(3)) == {("stars-2-or-3-or-4",)}
    assert selected(prompt_functions.match_on_int(6)) == set()


def test_names_say_what_the_conditions_say() -> None:
    for condition, name in [
        ("abroad", "abroad"),
        ("not abroad", "not-abroad"),
        ("not not abroad", "abroad"),
        ("place == 'New York, NY'", "place-New-York-NY"),
        ("place == other", "place-is-other"),
        ("place is None", "place-none"),
        ("place is not None", "place-not-none"),
        ("place in ('Rome', 'Oslo')", "place-Rome-or-Oslo"),
        ("place in PLACES", "place-in-PLACES"),
        ("place == 1 or place == 2", "place-1-or-2"),
        ("place == 1 or other", "place-1-or-other"),
        ("a and b or c", "a-and-b-or-c"),
        ("0 < level <= 3", "if-0-below-level-at-most-3"),
        ("level > -1", "level-above-minus-1"),
        ("item in wanted", "tea-in-wanted"),
        ("item not in wanted", "tea-not-in-wanted"),
        ("point.x", "point.x"),
        ("table['key'] != 1", "table-key-not-1"),
        ("x == '!?'", "x-empty"),
        ("'...' == x", "empty-is-x"),
        ("x == '" + "long " * 20 + "'", "x-long-long-long-long-long-long-long-long-long"),
        (f"{'x' * 99}", "x" * 48),
        ("[] == x", "is-x"),
        ("[]", "branch"),
        ("été == 'été'", "été-été"),
    ]:
        tree = ast.parse(condition, mode="eval").body
        known = {"item": "tea", "PLACES": ("Rome",)}
        assert branch_names([tree], known) == [name], condition


@pytest.mark.parametrize(
    ("head", "decorator", "tokens", "role"),
    [
        ("from pml.program import *", "prompt_program", "Tokens", "user"),
        ("from pml.program import prompt_program as p, Tokens as T, user as u", "p", "T", "u"),
        ("import pml.program", *(f"pml.program.{n}" for n in ("prompt_program", "Tokens", "user"))),
        ("import pml.program as q", "q.prompt_program", "q.Tokens", "q.user"),
        ("from pml import program", "program.prompt_program", "program.Tokens", "program.user"),
    ],
)
def test_what_is_imported_may_be_called_anything(
    head: str, decorator: str, tokens: str, role: str
) -> None:
    text = f"""{head}
import os, typing
@{decorator}
def f(a: typing.Annotated[str, {tokens}(3)]):
    with {role}:
        f"Hi {{a}}"
"""
    schema = PromptProgram(text, "p.py", "f").schema
    expected = "<schema name='f'><user>Hi <param name='a' len='3'/></user></schema>"
    assert schema == parse_schema(expected)


def test_names_that_came_from_elsewhere_are_not_ours() -> None:
    text = "from mine import prompt_program\n@prompt_program\ndef f(): 'text'"
    message = "p.py:1:1: no function 'f' under @prompt_program of pml.program; the file has none"
    assert refused(PromptProgram(text, "p.py", "f")) == message
    text = "from pml.program import *\ndef len(x): ...\n@prompt_program\ndef f(a):\n if len(a): 'x'"
    assert "a call in an expression" in refused(PromptProgram(text, "p.py", "f"))


def test_a_slot_takes_texts_and_numbers_and_nothing_else() -> None:
    program = compiled("def f(a: Annotated[str, Tokens(3)] = 7):\n  f'{a}'")
    assert program.pml == '<schema name="f">\n  <param name="a" len="3" default="7"/>\n</schema>\n'
    assert program().arguments["a"].text == "7"
    with pytest.raises(PMLProgramError) as caught:
        program(None)
    assert str(caught.value) == "p.py:4:3: 'a' is 'None' here; expected text or a number"


def test_a_condition_that_fails_on_its_arguments_says_where() -> None:
    program = compiled("def f(a):\n  if a > 1:\n    'text'")
    with pytest.raises(PMLProgramError) as caught:
        program("two")
    assert str(caught.value).startswith("p.py:4:6: 'a > 1' fails: TypeError: '>' not supported")
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        program()


def test_a_program_has_limits() -> None:
    loops = "def f():\n for a in range(200):\n  for b in range(200):\n   'x'"
    assert f"more than {MOST_STATEMENTS:,} statements" in refused(compiled(loops))
    deep = "def f(a):\n" + "".join(f"{' ' * n}if a:\n" for n in range(1, 40)) + " " * 40 + "'x'"
    assert "nested in more than 60 tags" in refused(compiled(deep))
    nots = compiled(f"def f(a):\n if {'not ' * 200}a:\n  'x'")
    message = "p.py:4:5: an expression nested more than 100 deep; make it flatter"
    assert refused(nots) == message
    statement = compiled(f"def f(a):\n {'not ' * 2500}a")
    assert "nested too deeply" in refused(statement)
    minus = PromptProgram(f"A = {'-' * 100_000}1", "p.py", "f")
    assert refused(minus) == "p.py:1:1: expressions nested too deeply"


def test_texts_side_by_side_are_one() -> None:
    program = compiled("def f():\n for i in range(9):\n  f'{i} words '\n  if i == 2: 'two '")
    (text,) = program.schema.children
    assert isinstance(text, PromptText)
    assert text.text.startswith("0 words 1 words 2 words two 3 words ")


def test_a_long_chain_is_no_deep_nesting() -> None:
    chain = "".join(f" elif a == {n}:\n  'text {n}'\n" for n in range(1, 500))
    program = compiled(f"def f(a):\n if a == 0:\n  'text 0'\n{chain}")
    assert len(children_of(program.schema)) == 500
    assert selected(program(77)) == {("a-77",)}


def test_only_functions_at_module_level_are_programs() -> None:
    def local() -> None: ...

    with pytest.raises(PMLProgramError, match="local' is no function at module level; move it"):
        prompt_program(local)
    with pytest.raises(PMLProgramError, match="'Tokens' is no function at module level"):
        prompt_program(Tokens)  # type: ignore[arg-type]
    names: dict[str, Any] = {}
    exec("def unwritten(): 'text'", names)
    with pytest.raises(PMLProgramError, match="the source of 'unwritten' is not to be had"):
        prompt_program(names["unwritten"])


@pytest.mark.parametrize("role", [system, user, assistant])
def test_a_role_outside_a_prompt_function_says_so(role: Any) -> None:
    with pytest.raises(RuntimeError, match="decorate it with @prompt_program"), role:
        pass


def test_files_are_read_in_their_own_encoding(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    text = "# coding: latin-1\nfrom pml.program import *\r\n@prompt_program\r\ndef f():\r\n  'é'"
    path.write_bytes(text.encode("latin-1"))
    assert read_program(path, "f").pml == '<schema name="f">é</schema>\n'
    for wrong in (b"# coding: none", b"'\xff'"):
        path.write_bytes(wrong)
        with pytest.raises(PMLProgramError, match="no text in the encoding that it claims"):
            read_program(path, "f")
    with pytest.raises(FileNotFoundError):
        read_program(tmp_path / "q.py", "f")


def test_nothing_of_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text(
        "from pml.program import *\nopen('ran', 'w')\n@prompt_program\ndef f(a=len('x')):\n"
        "  if a == 1:\n    'text'\nraise SystemExit"
    )
    assert selected(read_program(path, "f")()) == {("a-1",)}
    assert [each.name for each in tmp_path.iterdir()] == ["p.py"]


def test_a_function_that_only_others_call_need_not_compile_alone() -> None:
    text = "from pml.program import *\n@prompt_program\ndef f(items):\n for i in items: f'{i} '\n"
    text += "@prompt_program\ndef g():\n f((1, 2))"
    assert PromptProgram(text, "p.py", "g").schema.find(("f",)).children == (PromptText("1 2 "),)
    assert "a loop over 'items'" in refused(PromptProgram(text, "p.py", "f"))


def test_a_program_says_what_it_is() -> None:
    assert repr(prompt_functions.loop) == "<prompt program loop>"
    assert prompt_functions.greeting.__name__ == "greeting"  # type: ignore[attr-defined]
