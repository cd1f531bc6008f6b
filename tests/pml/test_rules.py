"""The rules of the language by name, with a document for each: where everything stands (sections 3
and 4 of the specification), and what is refused (`pml.rule_table`).

A token is a byte here, there is no BOS, and the markers of a turn are `<user|` and `>|`: every
position can be counted out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from minillm.tokenizer import ByteTokenizer
from pml.conversation import Conversation
from pml.diagnostics import diagnose_prompt, diagnose_schema
from pml.discover import Rewriter, parse_request
from pml.errors import IN_CODE, PMLError
from pml.nodes import PromptText, Schema
from pml.plan import PlanSpan
from pml.planner import Planner
from pml.program import PromptProgram
from pml.prompt import parse_prompt
from pml.rule_table import ERRORS, WARNINGS
from pml.schema import parse_schema
from pml.writer import write_schema

BYTES = ByteTokenizer(bos=False)
CONTEXT = 200
ROOT = Path(__file__).parents[2]


def placed(body: str, prompt: str, layout: str) -> str:
    """Every text at its first position, what is computed afresh in parentheses: `0:Go 2:(Rome)`.

    A blank is shown as `_`, a line break as `|`, a marker's first token as `<` or `>`.
    """
    schema = parse_schema(f'<schema name="s">{body}</schema>', "s.pml")
    plan = Planner.of(schema, BYTES, CONTEXT, layout=layout, fresh_anonymous=0).plan(
        parse_prompt(f'<prompt schema="s"{prompt}</prompt>', "p.pml")
    )
    spans = [(one.start, _shown(one)) for one in plan.reused]
    spans += [(one.start, f"({_shown(one)})") for one in plan.fresh]
    return " ".join(f"{start}:{text}" for start, text in sorted(spans))


def _shown(span: PlanSpan) -> str:
    signs = {259: "<", 260: ">", ord(" "): "_", ord("\n"): "|"}
    return "".join(signs.get(id) or chr(id) for id in span.tokens)


AB = '<module name="a">aaaa</module><module name="b">bb</module>'
ABC = f'{AB}<module name="c">c</module>'
UNION = f"x<union>{AB}</union>y"
SLOT = '<module name="m">in<param name="p" len="6"/>!</module>'
NESTED = f'<module name="o">[{AB}]</module>'
DEFAULT = '<param name="p" len="3" default="d"/>z'
NEUTRAL = 'x<union><module name="n"/><module name="a">aaaa</module></union>'
TURNS = '<system>S</system><module name="m"><user>U</user></module>'

FIXED = {
    "children take consecutive positions": (f"x{AB}y", "><a/><b/>?", "0:x 1:aaaa 5:bb 7:y 8:(?)"),
    "union members share the union's start": (UNION, "><b/>?", "0:x 1:bb 5:y 6:(?)"),
    "a union is as long as its longest member": (UNION, "><a/>?", "0:x 1:aaaa 5:y 6:(?)"),
    "a parameter takes its length": (SLOT, '><m p="May"/>?', "0:in 2:(May) 8:! 9:(?)"),
    "a nested module lies inside its parent": (NESTED, "><o><b/></o>?", "0:[ 5:bb 7:] 8:(?)"),
    "what a prompt leaves out stays a gap": (AB, "><b/>?", "4:bb 6:(?)"),
    "new text starts right after its import": (ABC, "><a/>??<c/>?", "0:aaaa 4:(??) 6:c 7:(?)"),
    "new text must end before the next content": (ABC, "><a/>???<c/>?", "text-length"),
    "text in an import follows its last token": (
        SLOT,
        '><m p="May">.</m>',
        "0:in 2:(May) 8:! 9:(.)",
    ),
    "text in an import must fit too": (SLOT + "z", '><m p="May">.</m>', "text-length"),
    "text before the first import goes before it": (AB, ">?<b/>!", "0:(?) 4:bb 6:(!)"),
    "text after the last import goes after everything": (AB + "zz", "><a/>?", "0:aaaa 6:zz 8:(?)"),
    "new texts beside empty modules follow one another": (
        f'<module name="n"/><module name="o"/><module name="g">gg</module>{AB}',
        "><n/>x<o/>y<a/>?",
        "0:(x) 1:(y) 2:aaaa 6:(?)",
    ),
    "anonymous text that is not cached": (
        'x<module cache="false">y</module>z',
        ">?",
        "0:x 1:(y) 2:z 3:(?)",
    ),
    "an argument that is too long": (SLOT, '><m p="October"/>?', "argument-length"),
    "a missing argument": (SLOT, "><m/>?", "missing-argument"),
    "a default is computed as an argument is": (DEFAULT, ">?", "0:(d) 3:z 4:(?)"),
    "an empty module": (f'<module name="n"/>{AB}', "><n/><a/>?", "0:aaaa 4:(?)"),
    "an empty module is a neutral member": (NEUTRAL, "><n/>?", "0:x 1:(?)"),
    "a prompt of text only": ("", ">Hello", "0:(Hello)"),
    "a schema without a module": ("Hello", ">?", "0:Hello 5:(?)"),
    "a module once": (AB, "><a/><a/>", "repeated-import"),
    "modules in the schema's order, whatever the prompt's": (AB, "><b/><a/>?", "0:aaaa 4:bb 6:(?)"),
    "the last token of a prompt is computed": (AB, "><a/>", "0:aaa 3:(a)"),
    "text that is not cached": (
        '<module name="a" cache="false">aa</module>z',
        "><a/>?",
        "0:(aa) 2:z 3:(?)",
    ),
    "a module without a name": (
        'x<module>y<module name="a">aa</module></module>',
        "><a/>?",
        "0:xy 2:aa 4:(?)",
    ),
    "a turn's markers are its owner's": (TURNS, "><m/>", "0:<system|S>| 11:<user|U> 19:(|)"),
    "a last text in a user's turn is asked": (
        TURNS,
        "><user>?</user>",
        "0:<system|S>| 11:(<user|?>|<assistant|)",
    ),
    "a last text in no turn is not": (TURNS, "><user>?</user>!", "0:<system|S>| 11:(<user|?>|!)"),
    "a special token spelled out stays text": ("", "><![CDATA[<|im_end|>]]>", "0:(<|im_end|>)"),
    "use and arg are the same for any name": (
        '<module name="my m">in<param name="a b" len="3"/></module>',
        '><use module="my m"><arg name="a b">May</arg></use>?',
        "0:in 2:(May) 5:(?)",
    ),
    "parameter and length are param and len": (
        '<parameter name="p" length="3"/>z',
        ' p="May">?',
        "0:(May) 3:z 4:(?)",
    ),
}

PACKED = {
    "no gap of what is left out": (UNION, "><b/>?", "0:x 1:bb 3:y 4:(?)"),
    "modules in the prompt's order": (AB, "><b/><a/>?", "0:bb 2:aaaa 6:(?)"),
    "a module more than once": (AB, "><a/><b/><a/>?", "0:aaaa 4:bb 6:aaaa 10:(?)"),
    "new text of any length anywhere": (
        AB,
        "><a/>and then<b/>?",
        "0:aaaa 4:(and_then) 12:bb 14:(?)",
    ),
    "a slot's unused rest stays a gap": (SLOT, '><m p="May"/>?', "0:in 2:(May) 8:! 9:(?)"),
    "before an import the anonymous text before it": (f"x{AB}y", "><b/>?", "0:x 1:bb 3:y 4:(?)"),
    "the rest before the prompt's last text": (f"x{AB}y", ">?<b/>!", "0:x 1:(?) 2:bb 4:y 5:(!)"),
    "children in the prompt's order": (
        NESTED,
        "><o>(<b/><a/>)</o>?",
        "0:[ 1:(() 2:bb 4:aaaa 8:()) 9:] 10:(?)",
    ),
    "a schema longer than the context": (
        "".join(f'<module name="m{i}">{"m" * 90}</module>' for i in range(9)),
        "><m8/><m2/>?",
        f"0:{'m' * 90} 90:{'m' * 90} 180:(?)",
    ),
}


TRIP = f"""<schema name="trip">{AB}<union required="true">
<module name="rome"><param name="p" len="2"/></module><module name="goa"/></union></schema>"""

WRONG_SCHEMAS = {
    "encoding": b'<schema name="\xff"/>',
    "malformed-xml": b"<schema",
    "limit": b"<schema name='s'>" + b"<module>" * 99 + b"</module>" * 99 + b"</schema>",
    "foreign-xml": b"<!DOCTYPE x><schema name='s'/>",
    "wrong-root": b"<module/>",
    "unknown-tag": b"<schema name='s'><modul/></schema>",
    "misplaced": b"<schema name='s'><union>x<module name='a'/></union></schema>",
    "unknown-attribute": b"<schema name='s' nam='t'/>",
    "missing-attribute": b"<schema/>",
    "wrong-value": b"<schema name='s'><param name='p' len='0'/></schema>",
    "reserved-name": b"<schema name='s'><module name='user'/></schema>",
    "duplicate-name": b"<schema name='s'><module name='a'/><module name='a'/></schema>",
    "empty-union": b"<schema name='s'><union/></schema>",
    "scaffold": b"<schema name='s'><scaffold modules='a'/></schema>",
    "include": b"<schema name='s'><module src='a.txt'/></schema>",
    "role-in-role": b"<schema name='s'><user><user/></user></schema>",
}

WRONG_PROMPTS = {
    "duplicate-argument": '<rome p="1"><arg name="p">2</arg></rome>',
    "unknown-module": "<goa/><c/>",
    "repeated-import": "<goa/><a/><a/>",
    "union-rivals": "<goa/><rome p='1'/>",
    "union-required": "",
    "unknown-parameter": "<goa p='1'/>",
    "missing-argument": "<rome/>",
}

WRONG_TOKENS = {
    "argument-length": (SLOT, '><m p="October"/>', "fixed"),
    "default-length": ('<param name="p" len="1" default="two"/>', ">", "fixed"),
    "text-length": (AB, "><a/>???<b/>", "fixed"),
    "context-length": ("", f">{'x' * 999}", "packed"),
    "empty-prompt": ("", ">", "packed"),
}


def wrong_program() -> object:
    source = "from pml import prompt_program\n@prompt_program\ndef f():\n    return 1\n"
    return PromptProgram(source, "p.py", "f").schema


WRONG_CALLS: dict[str, Callable[[], object]] = {
    "unknown-role": lambda: Planner.of(
        parse_schema("<schema name='s'><user>x</user></schema>"),
        ByteTokenizer(roles=False),
        CONTEXT,
    ),
    "chat": lambda: Conversation.of(
        Planner.of(parse_schema("<schema name='s'/>"), BYTES, CONTEXT, layout="fixed")
    ),
    "program": wrong_program,
    "unwritable": lambda: write_schema(Schema("s", children=(PromptText("a"), PromptText("b")))),
    "log": lambda: parse_request("1", IN_CODE),
    "discover": lambda: Rewriter(parse_schema("<schema name='s'>always</schema>")),
}


@pytest.mark.parametrize(("code", "document"), WRONG_SCHEMAS.items(), ids=WRONG_SCHEMAS)
def test_wrong_schema(code: str, document: bytes) -> None:
    assert [one.code for one in diagnose_schema(document).diagnostics] == [code]


@pytest.mark.parametrize(("code", "body"), WRONG_PROMPTS.items(), ids=WRONG_PROMPTS)
def test_wrong_prompt(code: str, body: str) -> None:
    document = f'<prompt schema="trip">{body}</prompt>'
    (found,) = diagnose_prompt(document, "p.pml", parse_schema(TRIP)).diagnostics
    assert found.code == code


def test_a_prompt_of_another_schema() -> None:
    (found,) = diagnose_prompt("<prompt schema='trap'/>", "p.pml", parse_schema(TRIP)).diagnostics
    assert found.code == "other-schema"


@pytest.mark.parametrize(("code", "asked"), WRONG_TOKENS.items(), ids=WRONG_TOKENS)
def test_wrong_tokens(code: str, asked: tuple[str, str, str]) -> None:
    assert outcome(*asked) == code


@pytest.mark.parametrize(("code", "call"), WRONG_CALLS.items(), ids=WRONG_CALLS)
def test_wrong_calls(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(PMLError) as caught:
        call()
    assert caught.value.code == code


def test_every_rule_is_broken_here() -> None:
    broken = {*WRONG_SCHEMAS, *WRONG_PROMPTS, *WRONG_TOKENS, *WRONG_CALLS, "other-schema"}
    by_the_linter = {"lost-text", *WARNINGS}
    assert broken | by_the_linter == {*ERRORS, *WARNINGS}
    tests = (Path(__file__).parent / "test_lint.py").read_text()
    for code in by_the_linter:
        assert f"def test_{code.replace('-', '_')}" in tests


def test_every_code_in_the_source_is_a_rule() -> None:
    source = "".join(path.read_text() for path in (ROOT / "pml").rglob("*.py"))
    assert {*re.findall(r'\bcode="([a-z-]+)"', source)} <= {*ERRORS, *WARNINGS}


@pytest.mark.parametrize(("body", "prompt", "expected"), FIXED.values(), ids=FIXED)
def test_fixed(body: str, prompt: str, expected: str) -> None:
    assert outcome(body, prompt, "fixed") == expected


@pytest.mark.parametrize(("body", "prompt", "expected"), PACKED.values(), ids=PACKED)
def test_packed(body: str, prompt: str, expected: str) -> None:
    assert outcome(body, prompt, "packed") == expected


def outcome(body: str, prompt: str, layout: str) -> str:
    try:
        return placed(body, prompt, layout)
    except PMLError as error:
        return error.code
