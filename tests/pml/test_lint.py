"""Each warning by name: what brings it, what it says, what makes it go away."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from minillm.tokenizer import ByteTokenizer, Tokenizer, load_tokenizer
from pml.diagnostics import Diagnostic
from pml.lint import lint, middle_slope
from pml.nodes import Prompt
from pml.planner import Planner
from pml.prompt import parse_prompt
from pml.rule_table import ERRORS, WARNINGS
from pml.schema import parse_schema

ROOT = Path(__file__).parents[2]
BYTES = ByteTokenizer(bos=False)


@cache
def smollm2() -> Tokenizer:
    return load_tokenizer(ROOT / "tests" / "golden" / "tokenizers" / "smollm2")


def found(
    body: str,
    *prompts: str,
    tokenizer: Tokenizer = BYTES,
    context: int = 4096,
    slope: float | None = None,
    complete: bool = True,
    layout: str = "fixed",
) -> list[Diagnostic]:
    schema = parse_schema(f'<schema name="s">{body}</schema>', "s.pml")
    asked: list[Prompt] = [
        parse_prompt(p.replace("<prompt", '<prompt schema="s"', 1), "p") for p in prompts
    ]
    planner = Planner.of(schema, tokenizer, context, layout=layout)
    return list(lint(schema, asked, planner, slope, complete=complete))


def codes(*arguments: str, **options: object) -> set[str]:
    return {one.code for one in found(*arguments, **options)}  # type: ignore[arg-type]


def boundaries(body: str, *prompts: str) -> list[str]:
    every = found(body, *prompts, tokenizer=smollm2(), complete=False)
    assert {one.code for one in every} <= {"token-boundary"}
    return [one.message.partition(": ")[2].partition(";")[0] for one in every]


@pytest.mark.parametrize(
    ("body", "difference"),
    [
        ("We go to <module name='m'>Rome</module>", "alone ' ' + 'Rome', joined ' Rome'"),
        ("We go to<module name='m'> Rome</module>", ""),
        ("a jour<module name='m'>ney</module>", "alone ' jour' + 'ney', joined ' journey'"),
        ("go <union><module name='m'>we</module></union>", "alone ' ' + 'we', joined ' we'"),
        ("go <param name='p' len='9' default='now'/>", "alone ' ' + 'now', joined ' now'"),
        ("go <param name='p' len='9'/>", ""),
        ("go <user>we</user>", ""),
        ("<module name='m' space='preserve'>go </module>we", "alone ' ' + 'we', joined ' we'"),
        ("go <module name='m'/>we", "alone ' ' + 'we', joined ' we'"),
        ("go <module name='m'>\n</module>we", "alone ' ' + 'we', joined ' we'"),
        ("<user>go <module name='m'>we</module></user>", "alone ' ' + 'we', joined ' we'"),
        (
            "<module name='a'>go <module name='m'>we</module></module>",
            "alone ' ' + 'we', joined ' we'",
        ),
    ],
)
def test_token_boundary(body: str, difference: str) -> None:
    assert boundaries(body) == ([difference] if difference else [])


def test_token_boundary_is_one_warning_for_a_text_and_names_both_sides() -> None:
    body = "go <module name='a'>we</module><module name='b'>you</module><module name='c'>!</module>"
    (one,) = found(body, tokenizer=smollm2(), complete=False)
    assert one.message == (
        "text of / meets text of /a (and 2 more that may follow): alone ' ' + 'we', joined ' we'; "
        "begin the second with the blank instead of ending the first with it"
    )
    assert (str(one.at), str(one.related[0].at)) == ("s.pml:1:38", "s.pml:1:18")


def test_token_boundary_sees_the_arguments_of_prompts() -> None:
    body = "to <param name='p' len='9'/>"
    assert boundaries(body) == []
    given = boundaries(body, "<prompt p='Rome'/>", "<prompt p=' Rome'/>")
    assert given == ["alone ' ' + 'Rome', joined ' Rome'"]


def test_the_differences_are_what_joint_tokenisation_gives() -> None:
    """The warning comes exactly where the two id sequences differ, over words and blanks."""
    pieces = ["go", " ", "to ", " to", "Rome", "x\n", "\n y", "é", " €", "'s", "1", "23", "don"]
    for one in pieces:
        for other in pieces:
            ids = smollm2().encode
            body = f"<module name='a' space='preserve'>{one}</module>"
            body += f"<module name='b' space='preserve'>{other}</module>"
            apart = ids(one) + ids(other) != ids(one + other)
            assert bool(boundaries(body)) == apart, (one, other)


def test_alibi_gap() -> None:
    body = f"a<union><module name='x'>{'x' * 80}</module><module name='y'>yyy</module></union>z"
    (one,) = found(body, "<prompt><y/>!</prompt>", slope=middle_slope(), complete=False)[1:]
    assert one.code == "alibi-gap" and one.at and one.at.file == "p"
    assert one.message.startswith(
        "positions 4 to 80 before / stay empty: with ALiBi that distance takes 4.8 off the scores"
    )
    assert "alibi-gap" not in codes(body, "<prompt><y/>!</prompt>")
    assert "alibi-gap" not in codes(body, "<prompt><x/>!</prompt>", slope=middle_slope())
    slot = "<param name='p' len='80'/>"
    packed = found(slot, "<prompt p='a'>!</prompt>", slope=1.0, complete=False, layout="packed")
    assert packed[0].message.endswith("lower the len of the parameter before it")
    assert found(slot, "<prompt p='a'>!</prompt>", slope=1.0, complete=False) != packed
    narrow = "<param name='p' len='9'/>z"
    assert codes(narrow, "<prompt p='a'>!</prompt>", slope=1.0, complete=False) == set()
    far = f"<prompt p='a'>{'!' * 99}</prompt>"  # an error of its own
    assert codes(slot, far, slope=1.0, complete=False, context=90) == set()


def test_parameter_length() -> None:
    body = "<param name='p' len='40'/>"
    (one,) = found(body, "<prompt p='four'/>", "<prompt p='seven77'/>")
    assert one.message == (
        "parameter 'p' holds 40 tokens, the longest of 2 arguments has 7: "
        "33 positions stay empty; lower len"
    )
    assert codes(body, f"<prompt p='{'x' * 21}'/>") == set()
    assert codes("<param name='p' len='17'/>", "<prompt p='2b'/>") == set()
    assert codes("<param name='p' len='40' default='d'/>", "<prompt>x</prompt>") == set()
    assert codes(body, "<prompt p='four'/>", complete=False) == set()


def test_union_lengths() -> None:
    body = "<union><module name='x'>{}</module><module name='y'>{}</module></union>"
    (one,) = found(body.format("x" * 100, "y" * 25), complete=False)
    assert one.message == (
        "member 'x' takes 100 positions, 'y' 25: a prompt with 'y' leaves 75 empty; "
        'split the union, or take layout="packed"'
    )
    for even in (("x" * 100, "y" * 26), ("x" * 80, "y" * 17), ("x" * 100, ""), ("", "")):
        assert codes(body.format(*even), complete=False) == set()
    assert codes(body.format("x" * 100, "y"), complete=False, layout="packed") == set()
    inner = f"<user><module><module name='m'>{body.format('x' * 100, 'y')}</module></module></user>"
    assert codes(inner, complete=False) == {"union-lengths"}


def test_unused_module() -> None:
    body = "<module name='a'><module name='b'/><module name='c'/></module><module name='d'/>"
    every = found(body, "<prompt>x<a><b/></a></prompt>", "<prompt><user><a/></user></prompt>")
    assert [(one.code, one.message) for one in every] == [
        ("unused-module", "module 'a/c' is imported by none of 2 prompts"),
        ("unused-module", "module 'd' is imported by none of 2 prompts"),
    ]
    assert codes(body, "<prompt><a/></prompt>", complete=False) == set()


def test_schema_context() -> None:
    body = f"<module name='a'>{'a' * 50}</module><module name='b'>{'b' * 60}</module>"
    (one,) = found(body, context=100, complete=False)
    assert one.message.startswith(
        "the schema takes 110 positions, the model's context has 100; never usable whole: '/b'; "
    )
    (one,) = found("x" * 101, context=100, complete=False)
    assert "never usable whole: its last text" in one.message
    assert codes(body, context=110, complete=False) == set()
    assert codes(body, context=100, complete=False, layout="packed") == set()


def test_lost_text_is_an_error() -> None:
    """SmolLM2 has no byte 0xF1, which begins all characters of planes 4 to 15."""
    sign = "\U00040000"
    body = f"ok<user>a{sign}b</user><param name='p' len='9' default='{sign}'/>"
    prompt = f"<prompt p='{sign}'>{sign}</prompt>"
    every = found(body, prompt, tokenizer=smollm2(), complete=False)
    errors = [one for one in every if one.code == "lost-text"]
    assert [(one.severity, str(one.at)) for one in errors] == [
        ("error", "s.pml:1:26"), ("error", "s.pml:1:36"), ("error", "p:1:20"), ("error", "p:1:26"),
    ]  # fmt: skip
    assert errors[0].message.startswith("the model's vocabulary cannot hold U+40000 of this text")


def test_without_a_model_only_what_needs_none_is_told() -> None:
    schema = parse_schema("<schema name='s'>go <module name='m'>we</module></schema>")
    assert [one.code for one in lint(schema, complete=True)] == ["unused-module"]
    assert list(lint(schema)) == []


def test_the_page_has_every_rule_in_the_words_of_the_table() -> None:
    page = (ROOT / "docs" / "lint.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]*) \|", page, re.MULTILINE))
    assert rows == {**WARNINGS, **ERRORS}
