"""What a notebook shows of schemas, prompts and plans: a line, however large they are."""

from __future__ import annotations

from minillm.tokenizer import ByteTokenizer
from pml.planner import Planner
from pml.prompt import parse_prompt
from pml.schema import parse_schema

MANY = "".join(f'<module name="m{number}">Some text.</module>' for number in range(9))
SCHEMA = parse_schema(f'<schema name="s">Be brief.{MANY}</schema>')
PROMPT = parse_prompt('<prompt schema="s"><m1/><m2/><m3/><user>So?</user></prompt>')


def test_documents() -> None:
    assert repr(SCHEMA) == "<Schema 's': 'm0', 'm1', 'm2', 'm3', 'm4' and 4 more>"
    assert repr(parse_schema('<schema name="t">Hello</schema>')) == "<Schema 't': no modules>"
    assert repr(PROMPT) == "<Prompt for 's': 'm1', 'm2' and 'm3'>"
    assert repr(parse_prompt('<prompt schema="t">Hi</prompt>')) == "<Prompt for 't': no modules>"
    in_a_turn = parse_prompt('<prompt schema="t"><user><a/></user></prompt>')
    assert repr(in_a_turn) == "<Prompt for 't': 'a'>"


def test_what_is_made_of_them() -> None:
    planner = Planner.of(SCHEMA, ByteTokenizer(), 300)
    plan = planner.plan(PROMPT)
    assert repr(planner) == "<Planner of 's': fixed, guaranteed>"
    assert repr(planner.layout) == f"<Layout of 's': {planner.layout.length} positions>"
    assert repr(plan) == (
        f"<PromptPlan for 's': reuses {plan.num_cached} tokens, computes {plan.num_fresh}, "
        f"next position {plan.next_position}>"
    )
    first, *_, last = plan.spans
    assert repr(first) == f"<PlanSpan '/': cached, {len(first.tokens)} tokens from 0>"
    assert repr(last) == f"<PlanSpan 'prompt': fresh, {len(last.tokens)} tokens from {last.start}>"
