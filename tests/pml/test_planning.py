"""What a prompt reuses and who sees whom, by hand; the laws hold all of it in general
(`tests/laws/test_laws_plan.py`).

A token is a byte here and there is no BOS, so each drawing can be counted out.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, cast

import pytest

from minillm.tokenizer import ByteTokenizer
from pml.asked import NewText
from pml.conversation import Conversation
from pml.errors import IN_CODE, PMLError
from pml.learned import content, one_pass
from pml.plan import PromptPlan
from pml.planner import Planner
from pml.prompt import Prompt, parse_prompt, parse_turn
from pml.recompute import NOTHING, Recompute
from pml.schema import parse_schema
from pml.schemas import Changes, read_prompt, read_schema, several

BYTES = ByteTokenizer(bos=False)
AB = '<module name="a">aa</module><module name="b">bb</module>'


def planner(body: str, layout: str = "fixed", attention: str = "guaranteed") -> Planner:
    schema = parse_schema(f'<schema name="s">{body}</schema>')
    return Planner.of(schema, BYTES, 200, layout=layout, attention=attention)


def prompt(body: str) -> Prompt:
    return parse_prompt(f'<prompt schema="s">{body}</prompt>')


def text(tokens: tuple[int, ...] | list[int]) -> str:
    return "".join("?" if id == BYTES.placeholder_id else chr(id) for id in tokens)


def seen(plan: PromptPlan) -> dict[str, str]:
    """For each last token of a span, as text, all tokens that it sees."""
    tokens, mask = plan.tokens(), plan.visibility()
    order = sorted(range(len(tokens)), key=lambda index: plan.positions()[index])
    found, last = {}, -1
    for span in plan.spans:
        last += len(span.tokens)
        found[text(span.tokens)] = text([tokens[index] for index in order if mask[last, index]])
    return found


def test_a_header_begins_the_text_of_every_module_that_has_a_name() -> None:
    """Not of one without any: it stays a choice of nothing, and no answer starts at a header."""
    nested = '<module name="a">aa<module name="c"><param name="p" len="1"/>c</module></module>'
    one_of = '<union><module name="d">dd</module><module name="e"/></union>'
    around = '<module name="f"><module name="g">g</module></module>'
    schema = parse_schema(f'<schema name="s">x{nested}<module>y</module>{one_of}{around}</schema>')
    headed = Planner.of(schema, BYTES.with_header((261, 262)), 200)

    def read(tokens: tuple[int, ...]) -> str:
        return text(tokens).translate({261: "<", 262: ">"})

    spans = [read(span.tokens) for span in headed.layout.spans]
    assert spans == ["x", "<>aa", "?", "<>c", "y", "<>dd", "<>g"]
    plan = headed.plan(prompt('<a><c p="1"/></a><e/>'))
    assert read(plan.selected()) == "x<>aa1<>cy"


def test_guaranteed_modules_see_what_is_always_there() -> None:
    plan = planner(f"x{AB}").plan(prompt("<a/><b/>?"))
    assert seen(plan) == {"x": "x", "aa": "xaa", "bb": "xbb", "?": "xaabb?"}
    assert text(plan.selected()) == "xaabb?"
    assert [text(state.tokens) for state in plan.states] == ["x", "aa", "bb"]


def test_isolated_modules_see_themselves() -> None:
    plan = planner(f"x{AB}", attention="isolated").plan(prompt("<a/><b/>?"))
    assert seen(plan) == {"x": "x", "aa": "aa", "bb": "bb", "?": "xaabb?"}


def test_joint_modules_see_what_stands_before_them(caplog: pytest.LogCaptureFixture) -> None:
    union = f'<union scaffold="b">{AB}</union><module name="c">cc</module>'
    with caplog.at_level(logging.WARNING, "pml"):
        joint = planner(f"x{union}", attention="joint")
    assert "for comparison only" in caplog.text
    plan = joint.plan(prompt("<a/><c/>?"))
    assert seen(plan)["cc"] == "xbbcc"  # and not the member that the prompt imports
    assert seen(plan)["aa"] == "xaa"


def test_a_scaffold_is_used_by_prompts_that_hold_all_of_it() -> None:
    body = f'x{AB}<module name="c">cc</module><scaffold modules="a b"/>'
    both = planner(body).plan(prompt("<a/><b/>?"))
    assert seen(both)["bb"] == "xaabb"
    assert len(planner(body).states.all) == len("xabc") + len("xab")
    assert len(planner(body).usable) == len("xabc") + len("ab") - 1  # `a` saw the same in both
    one = planner(body).plan(prompt("<b/><c/>?"))
    assert seen(one)["bb"] == "xbb"


def test_a_scaffold_sees_the_text_of_its_members_ancestors() -> None:
    inner = '<module name="o">oo<module name="i">ii</module></module>'
    plan = planner(f'{AB}{inner}<scaffold modules="a o/i"/>').plan(prompt("<a/><o><i/></o>?"))
    assert seen(plan)["ii"] == "aaooii"


def test_a_module_without_text_does_not_part_the_text_around_it() -> None:
    def spans(inside: str) -> list[tuple[str, bool]]:
        layout = planner(f'one<module cache="false">{inside}</module>two').layout
        return [(text(span.tokens), span.cached) for span in layout.spans]

    assert spans("") == [("onetwo", True)]
    assert spans("!") == [("one", True), ("!", False), ("two", True)]


def test_placeholders_are_ghosts() -> None:
    slot = '<module name="m">in<param name="p" len="3" scaffold="it"/>!</module>'
    plan = planner(slot).plan(parse_prompt('<prompt schema="s"><m p="May"/>Go</prompt>'))
    assert seen(plan)["!"] == "in???!"
    assert seen(plan)["Go"] == "inMay!Go"
    words = planner(f'{slot}<module name="n"/><scaffold modules="m n"/>')
    assert [text(s.tokens) for s in words.states.scaffolds[0].values()] == ["in", "it?", "!"]


@pytest.mark.parametrize(
    ("recompute", "again"),
    [
        (NOTHING, 0),
        (Recompute(first=1), 2),
        (Recompute(after_parameters=1), 1),
        (Recompute(positions={0, 1}), 2),
    ],
)
def test_recomputed_tokens_leave_a_ghost(recompute: Recompute, again: int) -> None:
    body = '<module name="m">in<param name="p" len="2"/>!!</module><module name="b">bb</module>'
    asked = parse_prompt('<prompt schema="s"><m p="No"/><b/>?</prompt>')
    plan = planner(body).plan(asked, recompute)
    assert plan.num_recomputed == again
    assert plan.num_cached + plan.num_fresh == len("inNo!!bb?")


@pytest.mark.parametrize(
    "wrong",
    [{"first": -1}, {"after_parameters": -1}, {"deviating": 1.5}, {"deviation": "loudness"}],
    ids=str,
)
def test_what_cannot_be_recomputed(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        Recompute(**wrong)  # type: ignore[arg-type]


def test_what_takes_the_states_to_know() -> None:
    assert Recompute(deviating=0.1).is_measured and not Recompute(first=9).is_measured


def keys(plan: PromptPlan) -> set[str]:
    """Of the states that a served prompt leaves."""
    nodes = [node for node in plan.placed if not node.state.is_placeholder]
    return {node.key for node in one_pass(content(nodes, plan.texts))}


def test_what_a_served_prompt_leaves_is_used_where_the_next_begins_alike() -> None:
    learning = planner(f"x{AB}", "packed", "learned")
    first = learning.plan(prompt("<a/>Hi <b/>?"))
    learned = keys(first)
    assert learning.plan(prompt("<a/>Hi <b/>?"), learned=learned).num_fresh == 1
    again = learning.plan(prompt("<a/>Hi <b/>!"), learned=learned)
    assert (first.num_cached, again.num_cached) == (5, 8)  # `Hi ` is no text to compute any more
    assert seen(again)["bb"] == "xaaHi bb"
    other = learning.plan(prompt("<b/>?"), learned=learned)
    assert seen(other)["bb"] == "xbb"


def test_options_that_there_are_not() -> None:
    schema = parse_schema('<schema name="s"/>')
    with pytest.raises(ValueError, match="layout is 'loose', expected 'fixed' or 'packed'"):
        Planner.of(schema, BYTES, 9, layout="loose")
    with pytest.raises(ValueError, match="attention is 'all', expected "):
        Planner.of(schema, BYTES, 9, attention="all")


def test_a_slot_beyond_the_context() -> None:
    with pytest.raises(PMLError, match="parameter 'p' holds 300 tokens, the model's context 200"):
        planner('<param name="p" len="300"/>')


def test_a_marker_may_be_empty() -> None:
    run = NewText(IN_CODE)
    run.add([])
    run.add([1, 2])
    assert (run.tokens, run.lengths) == ([1, 2], [2])


class TestConversation:
    def start(self) -> Conversation:
        return Conversation.of(planner(f'<param name="p" len="2" default="d"/>{AB}', "packed"))

    def test_turns_and_answers_follow_one_another(self) -> None:
        first, chat = self.start().turn(parse_turn("<a/><user>Why?</user>", "s"))
        chat = chat.answered(BYTES.encode("So."))
        second, chat = chat.turn(parse_turn("<b/>!", "s"))
        assert first.next_position < second.next_position == chat.plan.next_position
        whole = "".join(chr(id) for id in chat.plan.selected() if id < 256)
        assert whole == "daauser\nWhy?\nassistant\nSo.\nbb!"
        assert chat.answered([]).plan == chat.plan

    def test_what_was_said_stays_as_it_is_where_it_was_learned(self) -> None:
        learning = Conversation.of(planner(AB, "packed", "learned"))
        first, chat = learning.turn(parse_turn("<a/>Why?", "s"))
        again, _ = chat.turn(parse_turn("<b/>!", "s"), learned=keys(first))
        assert [text(node.tokens) for node in again.placed] == ["bb"]

    def test_a_whole_prompt_is_a_turn_too(self) -> None:
        _, chat = self.start().turn(parse_turn(' <prompt schema="s" p="x"><a/>?</prompt>', "s"))
        with pytest.raises(PMLError, match="belong to the first turn") as caught:
            chat.turn(parse_turn('<prompt schema="s" p="y">!</prompt>', "s"))
        assert caught.value.code == "chat"

    def test_an_empty_turn(self) -> None:
        _, chat = self.start().turn(parse_turn("Hi", "s"))
        with pytest.raises(PMLError, match="the turn holds no token") as caught:
            chat.turn(parse_turn("", "s"))
        assert caught.value.code == "empty-prompt"


def test_a_schema_comes_as_text_as_a_file_or_built(tmp_path: Path) -> None:
    written = f'<schema name="s">{AB}</schema>'
    path = tmp_path / "s.pml"
    path.write_text(written)
    built = parse_schema(written)
    for source in (f"\n{written}", written.encode(), path, str(path), built):
        assert read_schema(source) == built


def test_a_prompt_comes_as_text_as_a_file_or_built(tmp_path: Path) -> None:
    path = tmp_path / "p.pml"
    path.write_text('<prompt schema="s"><a/></prompt>')
    built = parse_prompt(path.read_text())
    for source in (path.read_text(), path.read_bytes(), path, built):
        assert read_prompt(source) == built
    with pytest.raises(PMLError, match=r"1: found 'p\.pml'; .* a file as pathlib\.Path$"):
        read_prompt("p.pml")
    path.write_text("<prompt>")
    with pytest.raises(PMLError, match=re.escape(f"{path}:1:9: ")):
        read_prompt(path)


def test_what_is_no_document_is_told_in_one_line() -> None:
    wrong: Any = parse_schema(f'<schema name="s">{AB}</schema>')
    expected = "found a Schema, expected PML text as str"
    with pytest.raises(TypeError, match=f"{expected} or bytes$"):
        read_prompt(wrong)
    with pytest.raises(TypeError, match=f"{expected}$"):
        parse_turn(wrong, "s")
    with pytest.raises(TypeError, match=r"found a NoneType, expected PML text as str or bytes$"):
        read_schema(cast(Any, None))


def test_one_prompt_is_not_several() -> None:
    assert several(iter(["a", "b"])) == ["a", "b"]
    for one in ("<prompt/>", b"<prompt/>", Path("p.pml"), Prompt("s")):
        with pytest.raises(TypeError, match=r"found one prompt, a .+, expected a list of them"):
            several(one)  # type: ignore[arg-type]


def test_what_an_edited_schema_changes() -> None:
    before, after = planner(f"x{AB}"), planner('x<module name="a">aa</module><module name="c"/>y')
    changes = Changes.between(before, after)
    assert (changes.kept, changes.changed) == (("/a",), ("/",))
    assert (changes.added, changes.gone) == ((), ("/b",))
    assert Changes.between(None, before).added == ("/", "/a", "/b")
