"""`pml discover` on the command line: what it writes, prints, and says of a log that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prompt_logs import Kinds, as_line
from typer.testing import CliRunner, Result

from pml.cli import app
from pml.discover import parse_request
from pml.errors import Location
from pml.prompt import check_prompt, parse_prompt
from pml.schema import parse_schema

SMOLLM2 = Path(__file__).parents[1] / "golden" / "tokenizers" / "smollm2"
RULES = "You answer in one short sentence, and never in two, whatever it is that you are asked.\n"


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def discover(*arguments: object) -> Result:
    words = ["discover", "log.jsonl", "-o", "schema.pml", *map(str, arguments)]
    return CliRunner().invoke(app, words)


def write_log(*prompts: object) -> None:
    Path("log.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))


def questions(number: int = 9) -> list[str]:
    return [f"{RULES}What is {n} times {n}?" for n in range(number)]


def test_a_schema_and_the_rewritten_prompts() -> None:
    Path("log.jsonl").write_text("".join(map(as_line, Kinds().log(60))))
    done = discover("--prompts", "out.jsonl", "--name", "all")
    assert (done.exit_code, done.stderr) == (0, "")
    schema = parse_schema(Path("schema.pml").read_bytes())
    assert (schema.name, schema.layout) == ("all", "packed")
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lines] == list(range(1, 61))
    for line in lines:
        check_prompt(parse_prompt(line["prompt"]), schema, repeat=True)
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith(f"schema.pml: {len(schema._modules)} modules, ")
    assert second.startswith("60 prompts of about ") and "(an estimate; --model " in second
    assert " more" in done.stdout.splitlines()[-1]


def test_a_log_on_stdin() -> None:
    write_log(*questions())
    here = discover("--prompts", "out.jsonl")
    words = ["discover", "-", "-o", "piped.pml", "--prompts", "piped.jsonl", "--name", "log"]
    done = CliRunner().invoke(app, words, input=Path("log.jsonl").read_bytes())
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == here.stdout.replace("schema.pml", "piped.pml")
    for mine, theirs in (("piped.pml", "schema.pml"), ("piped.jsonl", "out.jsonl")):
        assert Path(mine).read_bytes() == Path(theirs).read_bytes()
    done = CliRunner().invoke(app, words, input='"fine"\n7\n')
    assert (done.exit_code, done.stderr[:24]) == (3, "<stdin>:2:1: a JSON numb")


def test_rewritten_prompts_as_files() -> None:
    write_log(*questions())
    assert discover("--prompts", "out").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir())[0] == "000001.pml"
    assert Path("out/000009.pml").read_text() == (
        '<prompt schema="log">\n  <you_answer_in_one/>What is 8 times 8?</prompt>\n'
    )


def test_machine_readable() -> None:
    write_log(*questions())
    done = discover("--json", "--model", SMOLLM2)
    content: dict[str, Any] = json.loads(done.stdout)
    (module,) = content.pop("modules")
    assert module == {
        "name": "you_answer_in_one",
        "tokens": 21,
        "parameters": 0,
        "union": None,
        "prompts": 9,
        "imports": 9,
    }
    assert content == {
        "version": 1,
        "layout": "fixed",
        "prompts": 9,
        "reused_tokens": 189,
        "fresh_tokens": 72,
        "reused_share": 189 / 261,
        "estimated": False,
        "left_out": [],
    }


def test_how_much_is_shared_can_be_chosen() -> None:
    write_log(*questions(4))
    assert discover().stdout.startswith("schema.pml: 0 modules, 0 unions")
    assert "you_answer_in_one" in discover("--min-uses", 3).stdout
    assert discover("--min-uses", 3, "--min-tokens", 30).stdout.startswith("schema.pml: 0 modules")
    assert discover("--min-uses", 1).exit_code == 2


def test_what_pml_cannot_hold_is_left_out_and_told() -> None:
    write_log(*questions(), *[f"bad \x00 {n}" for n in range(5)])
    done = discover("--prompts", "out.jsonl", "--json")
    assert done.exit_code == 0
    told = "log.jsonl:10:1: character U+0000, which XML does not allow; the prompt cannot be"
    assert done.stderr.startswith(told)
    assert done.stderr.endswith(
        "log.jsonl: 2 more prompts with such characters; all are left out\n"
    )
    content = json.loads(done.stdout)
    assert [entry["line"] for entry in content["left_out"]] == [10, 11, 12, 13, 14]
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert lines[9]["prompt"] is None and lines[9]["error"].startswith(told)
    assert discover("--prompts", "out").exit_code == 0
    assert len(list(Path("out").iterdir())) == 9


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"prompt": "a}', "2:12: not JSON: Unterminated string starting at; expected a string, {"),
        ("[" * 100_000, "2:1: JSON nested too deep; expected a string, {"),
        ("7", '2:1: a JSON number; expected a string, {"prompt": "…"}, '),
        ('{"promt": "a"}', "2:1: an object with 'promt'; expected a string, "),
        ("{}", "2:1: an object with nothing; expected a string, "),
        ('{"messages": [1]}', '2:1: message 1 is a JSON number; expected {"role": "…", '),
        (
            '{"messages": [{"role": "usr", "content": ""}]}',
            "2:1: message 1 has role 'usr'; expected 'system', 'user' or 'assistant'; did you mean",
        ),
        ('{"messages": [{"content": ""}]}', "2:1: message 1 has role a JSON null; expected 'sys"),
        ('{"messages": [{"role": "user"}]}', "2:1: message 1 has a JSON null as content; exp"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
            "2:1: message 1 has a part that is no text; expected",
        ),
        (b'"\xff"', "2:1: byte 0xff is not UTF-8; save the log in UTF-8"),
    ],
)
def test_a_bad_line(line: str | bytes, told: str) -> None:
    data = line.encode() if isinstance(line, str) else line
    Path("log.jsonl").write_bytes(b'"fine"\n' + data + b"\n")
    done = discover()
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"log.jsonl:{told}")
    assert len(done.stderr.splitlines()) == 1
    assert not Path("schema.pml").exists()


def test_no_log_and_an_empty_one() -> None:
    done = discover()
    assert (done.exit_code, done.stderr) == (1, "error: log.jsonl: No such file or directory\n")
    Path("log.jsonl").write_text("\n \n")
    done = discover()
    assert done.stderr == "error: log.jsonl: no prompts; expected one a line\n"
    assert done.exit_code == 1


def test_the_log_is_never_written_over() -> None:
    write_log(*questions())
    log = Path("log.jsonl").read_bytes()
    Path("link.jsonl").symlink_to("log.jsonl")
    for flags in (("-o", "log.jsonl"), ("--prompts", "link.jsonl")):
        done = discover(*flags)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == f"error: {flags[1]}: this is the log; write to another file\n"
    assert Path("log.jsonl").read_bytes() == log
    assert not Path("schema.pml").exists()


def test_the_forms_of_a_line() -> None:
    at = Location("log", 1, 1)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": parts}]
    assert [
        [(turn.role, turn.text) for turn in parse_request(json.dumps(content), at)]
        for content in ("a", {"prompt": "b", "id": 1}, {"text": "c"}, {"messages": messages})
    ] == [[(None, "a")], [(None, "b")], [(None, "c")], [("system", "a"), ("user", "ab")]]
