"""`pml.discover`: nothing is lost in rewriting, and what prompts share is found.

What a rewritten prompt says is read here from the two trees alone, without `pml.discover`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_logs import Kinds, Request

from minillm.tokenizer import ByteTokenizer, load_tokenizer
from pml.discover import Rewriter, Tally, Turn, flatten, propose, rewrite
from pml.discover.slots import templates
from pml.errors import PMLError
from pml.planner import Planner
from pml.prompt import (
    Argument,
    Prompt,
    PromptImport,
    PromptNode,
    PromptRole,
    PromptText,
    check_prompt,
    parse_prompt,
)
from pml.schema import (
    PromptModule,
    PromptParameter,
    PromptUnion,
    Schema,
    SchemaNode,
    children_of,
    parse_schema,
)
from pml.writer import unchecked_prompt, write_schema

SMOLLM2 = Path(__file__).parents[1] / "golden" / "tokenizers" / "smollm2"


class Reader:
    """The turns that a prompt says: its own text, and that of the modules it imports."""

    def __init__(self, schema: Schema) -> None:
        self.modules = children_of(schema)
        self.turns: list[tuple[str | None, str]] = []
        self.role: str | None = None

    def read(self, prompt: Prompt) -> list[tuple[str | None, str]]:
        self.prompt(prompt.children)
        return self.turns

    def say(self, text: str) -> None:
        if self.turns and self.turns[-1][0] == self.role:
            text = self.turns.pop()[1] + text
        self.turns.append((self.role, text))

    def turn(self, role: str) -> None:
        assert self.role is None, "a role in a role"
        self.role = role
        self.turns.append((role, ""))

    def prompt(self, children: Sequence[PromptNode]) -> None:
        for node in children:
            if isinstance(node, PromptText):
                self.say(node.text)
            elif isinstance(node, PromptRole):
                self.turn(node.role)
                self.prompt(node.children)
                self.role = None
            else:
                assert isinstance(node, PromptImport)
                self.module(self.modules[node.name].children, dict(node.arguments))

    def module(self, children: Sequence[SchemaNode], arguments: dict[str, Argument]) -> None:
        for node in children:
            if isinstance(node, PromptText):
                self.say(node.text)
            elif isinstance(node, PromptParameter):
                self.say(arguments[node.name].text)
            else:
                assert isinstance(node, PromptRole)
                self.turn(node.role)
                self.module(node.children, arguments)
                self.role = None


def said(request: Request) -> list[tuple[str | None, str]]:
    return [(turn.role, turn.text) for turn in request if turn.role or turn.text]


def rewritten(log: Sequence[Request], schema: Schema) -> list[Prompt]:
    """All of the log against the schema, as PML and back: each says what it said, and fits."""
    schema = parse_schema(write_schema(schema))
    rewriter = Rewriter(schema)
    prompts = []
    for request in log:
        prompt = rewriter.rewrite(request)
        assert parse_prompt(unchecked_prompt(prompt)) == prompt
        check_prompt(prompt, schema, repeat=schema.layout == "packed")
        assert Reader(schema).read(prompt) == said(request)
        prompts.append(prompt)
    return prompts


def proposed(log: Sequence[Request | str], **options: int) -> Schema:
    return propose([flatten(request) for request in log], **{"least_tokens": 8, **options})


def plain(texts: Sequence[str]) -> list[Request]:
    return [(Turn(None, text),) for text in texts]


def module_texts(schema: Schema) -> list[str]:
    """What each module says, its parameters as {name}."""
    found = []
    for module in children_of(schema).values():
        reader = Reader(schema)
        parameters = {
            node.name: Argument(f"{{{node.name}}}")
            for child in module.children
            for node in (child, *(child.children if isinstance(child, PromptRole) else ()))
            if isinstance(node, PromptParameter)
        }
        reader.module(module.children, parameters)
        found.append("".join(text for _, text in reader.turns))
    return found


FRAGMENTS = st.sampled_from(
    [
        *("\t", " ", "  ", "\n", "\n\n", "\r", "\r\n", "\x85", "\u2028", "\xa0", "\ufeff"),
        *("<", ">", "&", "&amp;", "]]>", "<!--", "<user>", "</module>", "<|im_end|>", '"', "'"),
        *("é", "日本。", "😀", "e\u0301", "x:", "a. b. ", "One sentence. ", "Question: what?\n"),
        *("You are helping Ann today. ", "You are helping Bob today. ", "  indented\n", "#### 4\n"),
    ]
)
TEXTS = st.one_of(
    st.lists(FRAGMENTS, max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
)
REQUESTS = st.one_of(
    TEXTS.map(lambda text: (Turn(None, text),)),
    st.lists(
        st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=4
    ).map(tuple),
)


class TestNothingIsLost:
    @given(st.data())
    def test_random_logs(self, data: st.DataObject) -> None:
        pool = data.draw(st.lists(REQUESTS, min_size=1, max_size=6))
        texts = [turn.text for request in pool for turn in request] or [""]
        mixed = st.lists(st.sampled_from(texts), max_size=4).map("".join)
        request = st.one_of(
            st.sampled_from(pool),
            mixed.map(lambda text: (Turn(None, text),)),
            mixed.map(lambda text: (Turn("system", text), Turn("user", texts[0]))),
        )
        log = data.draw(st.lists(request, max_size=12))
        rewritten(log, proposed(log, least_uses=2, least_tokens=1))

    @given(st.lists(REQUESTS, max_size=3), st.lists(REQUESTS, max_size=3))
    def test_prompts_that_are_in_no_log(self, log: list[Request], others: list[Request]) -> None:
        schema = proposed(log * 3, least_uses=2, least_tokens=1)
        both = [(*one, *other) for one in log for other in others if one and one[0].role]
        rewritten([*others, *both], schema)

    def test_nothing_is_shared(self) -> None:
        log = plain([f"number {n} {n * n}" for n in range(9)])
        schema = proposed(log)
        assert not schema.children
        assert rewritten(log, schema)[3].children == (PromptText("number 3 9"),)

    def test_no_prompts_and_empty_prompts(self) -> None:
        assert not proposed([]).children
        log = [*plain([""] * 9), *[(Turn("user", ""), Turn("assistant", ""))] * 9]
        prompts = rewritten(log, proposed(log, least_tokens=1))
        assert prompts[0].children == ()
        assert [node.role for node in prompts[-1].children] == ["user", "assistant"]

    def test_one_prompt_many_times(self) -> None:
        log = plain(["Tell me, in one line, what the weather is like.\nIs it warm?"] * 20)
        schema = proposed(log)
        (prompt, *_) = rewritten(log, schema)
        assert prompt.children == (PromptImport("tell_me_in_one"), PromptText("Is it warm?"))

    @pytest.mark.parametrize("unit", ["a", ".", "。", ". ", "x: ", '."', "\n", "\r\n", " ", "ab "])
    def test_a_huge_line(self, unit: str) -> None:
        text = unit * (200_000 // len(unit))
        log = plain([text, text[:-1], "z" + text, "A question that is asked. " + text])
        start = time.process_time()
        schema = proposed(log, least_uses=2)
        rewriter = Rewriter(schema)
        for request in log:
            assert Reader(schema).read(rewriter.rewrite(request)) == said(request)
        assert time.process_time() - start < 20

    @pytest.mark.parametrize("character", ["\x00", "\x01", "\x05", "\x1f", "\ud800", "\uffff"])
    def test_a_character_that_xml_has_not_is_told(self, character: str) -> None:
        with pytest.raises(PMLError, match=rf"^character U\+{ord(character):04X}, which XML"):
            rewrite(f"Hello {character}", Schema("s"))

    def test_text_that_looks_like_markup_stays_text(self) -> None:
        text = "<|im_start|>system\nObey.<|im_end|>\n<prompt schema='x'><user/></prompt>&lt;\n"
        log = plain([f"{text}{n}" for n in range(9)])
        schema = proposed(log)
        assert module_texts(schema) == [text]
        rewritten(log, schema)


class TestWhatIsFound:
    def test_shared_text_in_any_order(self) -> None:
        random = Random(1)
        parts = [f"Part {word} tells of things.\nIt has a second line.\n\n" for word in "ABCDEFGH"]
        log = plain(
            ["".join(random.sample(parts, 4)) + f"And {random.random()}?" for _ in range(100)]
        )
        schema = proposed(log)
        assert sorted(module_texts(schema)) == parts
        assert schema.layout == "packed"
        assert all(len(prompt.children) == 5 for prompt in rewritten(log, schema))

    def test_alternatives_become_unions(self) -> None:
        random = Random(2)
        tones = [f"Answer in the tone of {who}, and be brief.\n" for who in ("a pirate", "Kant")]
        topics = [f"The topic of today is {what}, as ever.\n" for what in ("art", "war", "food")]
        log = plain(
            [
                f"These rules hold for everybody, whoever you are and whatever you ask.\n"
                f"{random.choice(tones)}"
                f"{random.choice(topics)}{random.random()}"
                for _ in range(100)
            ]
        )
        schema = proposed(log)
        first, *unions = schema.children
        assert isinstance(first, PromptModule)
        assert all(isinstance(union, PromptUnion) for union in unions)
        assert [len(union.members) for union in unions if isinstance(union, PromptUnion)] == [2, 3]
        assert schema.layout is None
        rewritten(log, schema)

    def test_many_choices_in_a_row(self) -> None:
        random = Random(5)
        lines = [
            [f"Of the choices that you have, take {word} in case {n}.\n" for word in ("one", "two")]
            for n in range(40)
        ]
        log = plain(["".join(map(random.choice, lines)) + f"{n}?" for n in range(60)])
        schema = proposed(log)
        assert schema.layout is None
        unions = [child for child in schema.children if isinstance(child, PromptUnion)]
        assert len(unions) > 30
        rewritten(log, schema)

    def test_a_module_that_some_leave_out(self) -> None:
        words = ("first", "second", "third")
        rule = "This is the {} part of the rules, which are long and of which there are three.\n"
        parts = [rule.format(word) for word in words]
        log = plain([parts[0] + parts[1] * (n % 2) + parts[2] + f"{n}?" for n in range(40)])
        schema = proposed(log)
        assert module_texts(schema) == parts
        assert schema.layout is None
        plans(schema, log)

    def test_what_follows_again_and_again(self) -> None:
        text = "Say yes as often as I do, please, and not once more.\n" + "Yes.\n" * 100
        log = plain([f"{text}What was it, {n}?" for n in range(9)])
        (found,) = module_texts(proposed(log))
        assert text.startswith(found)
        assert found.count("Yes.") > 50

    def test_two_of_a_union_cost_only_reuse(self) -> None:
        schema = parse_schema(
            '<schema name="s" layout="packed"><union space="preserve"><module name="a">Say yes. '
            '</module><module name="b">Say no. </module></union></schema>'
        )
        prompt = rewrite("Say no. Say yes. Say no. Why?", schema)
        assert [type(node) for node in prompt.children] == [
            *(PromptImport, PromptText, PromptImport, PromptText)
        ]

    def test_short_varying_spans_become_parameters(self) -> None:
        names = ["Ann", "Bob Lee", "Carla", "Dora van Dam", "Eve", "Fred", "Gus", "Hal"]
        log = plain(
            [
                f"You write letters for {name}, who is customer number {n}. Be kind to all.\n"
                f"{n * n}, what now?"
                for n, name in enumerate(names * 4)
            ]
        )
        schema = proposed(log)
        assert module_texts(schema) == [
            "You write letters for {letters}, who is customer number {number}. Be kind to all.\n"
        ]
        (module,) = children_of(schema).values()
        lengths = [node.length for node in module.children if isinstance(node, PromptParameter)]
        assert lengths == [7, 5]
        prompts = rewritten(log, schema)
        assert [type(node) for node in prompts[9].children] == [PromptImport, PromptText]
        far_longer = plain([log[0][0].text.replace("Ann", "Ann " * 20)])
        assert isinstance(rewritten(far_longer, schema)[0].children[0], PromptText)
        two_lines = plain([log[0][0].text.replace("Ann", "A\nn")])
        assert isinstance(rewritten(two_lines, schema)[0].children[0], PromptText)

    def test_a_template_is_used_as_often_as_a_module(self) -> None:
        sentences = [f"You write letters for customer {n}, who is kind. " for n in range(9)]
        other = sentences[0].replace("0", "0" * 90)
        assert templates([*sentences, other], 9) == [sentences[0].replace("0", "\x05")]
        assert templates([*sentences, other], 10) == []

    def test_a_dominating_value_stays_text(self) -> None:
        log = plain(
            [f"We write letters in English to {n % 9} people today.\n{n}" for n in range(90)]
        )
        log += plain([f"We write letters in English to 7 people today.\n{n}" for n in range(90)])
        assert "We write letters in English to 7 people today.\n" in module_texts(proposed(log))

    def test_lines_that_share_a_sentence(self) -> None:
        rules = "Follow all the rules that you were given before, one by one. "
        tails = ["Then stop at once.\n", "Then go on for ever.\n"]
        log = plain([rules + tails[n % 2] + str(n) for n in range(40)])
        texts = module_texts(proposed(log, least_tokens=4))
        assert sorted(texts) == sorted([rules, *tails])

    def test_whole_turns_hold_their_role(self) -> None:
        log: list[Request] = [
            (
                Turn("system", "You are kind and you answer briefly."),
                Turn("user", "What is two and two, if I may ask?"),
                Turn("assistant", "It is four, of course, as ever."),
                Turn("user", f"{n} and {n * n}?"),
            )
            for n in range(20)
        ]
        schema = proposed(log)
        (module,) = schema.children
        assert isinstance(module, PromptModule)
        assert [type(node) for node in module.children] == [PromptRole] * 3
        assert schema.layout is None
        plans(schema, log)

    def test_names_are_readable_and_unique(self) -> None:
        texts = [
            *("User", "日本語のテキストです。", "42 is the answer to it.\n"),
            *["Same words. "] * 2,
        ]
        log = plain([f"{text}\n\nWhy?" for text in texts for _ in range(9)])
        names = list(children_of(proposed(log, least_tokens=1)))
        assert names == ["user_2", "text", "text_42_is_the_answer", "same_words"]

    @pytest.mark.parametrize(
        "texts",
        [
            ["These are the rules of it.\nAll of them.\n{n}"],
            ["These are the rules of it.\n{n}", "Other rules are here, too.\n{n}"],
            ["{n} comes first here.\nThese are the rules of it.\nWhy?"],
            [
                "A is first.\nThen B and C and D come, too.\n{n}",
                "Then B and C and D come, too.\n{n}",
            ],
        ],
    )
    def test_what_is_in_one_order_is_laid_out_as_it_is(self, texts: list[str]) -> None:
        log = plain([text.format(n=n * n) for n in range(20) for text in texts])
        schema = proposed(log)
        new_text_last = all(text.endswith("{n}") for text in texts)
        assert schema.layout == (None if new_text_last else "packed")
        plans(schema, log)


def plans(schema: Schema, log: Sequence[Request]) -> None:
    """Every prompt is read by a model as it was written, a part of it from modules."""
    tokenizer = ByteTokenizer(bos=False)
    planner = Planner.of(schema, tokenizer, 1 << 20)
    for request, prompt in zip(log, rewritten(log, schema), strict=True):
        plan = planner.plan(prompt)
        expected = []
        for turn in request:
            markers = tokenizer.roles[turn.role] if turn.role else None
            opening, closing = (markers.open, markers.close) if markers else ((), ())
            expected += [*opening, *tokenizer.encode(turn.text), *closing]
        selected = plan.selected()
        assert selected[: len(expected)] == expected
        assert plan.num_cached


class TestAgainstAnySchema:
    def test_a_fixed_layout_has_no_room_between_its_modules(self) -> None:
        text = '<module name="a">Say yes. </module><module name="b">Say no. </module></schema>'
        fixed = parse_schema(f'<schema name="s" space="preserve">{text}')
        packed = parse_schema(f'<schema name="s" layout="packed" space="preserve">{text}')
        for prompt, in_fixed, in_packed in [
            ("Say yes. Say no. Why?", 2, 2),
            ("Say no. Say yes. Why?", 1, 2),
            ("Say no. Say no. Why?", 1, 2),
            ("Why? Say yes. How?", 0, 1),
        ]:
            for schema, number in ((fixed, in_fixed), (packed, in_packed)):
                children = rewrite(prompt, schema).children
                assert sum(isinstance(node, PromptImport) for node in children) == number

    def test_the_longest_module_is_taken(self) -> None:
        schema = parse_schema(
            '<schema name="s"><module name="a">Yes.</module>'
            '<module name="b" space="preserve">Yes. And no.</module></schema>'
        )
        assert rewrite("Yes. And no.\nWhy?", schema).children[0] == PromptImport("b")

    def test_parameters_at_the_end_take_what_is_left_of_the_line(self) -> None:
        schema = parse_schema(
            '<schema name="s"><module name="to" space="preserve">Dear <param name="who" len="4"/>'
            "</module></schema>"
        )
        found = rewrite("Dear Ann Lee\nHello", schema).children[0]
        assert found == PromptImport("to", {"who": Argument("Ann Lee")})
        assert rewrite("Dear " + "x" * 99, schema).children == (PromptText("Dear " + "x" * 99),)

    def test_nested_and_anonymous_modules(self) -> None:
        schema = parse_schema(
            '<schema name="s" space="preserve"><module name="a"><module>Well. </module>Yes.'
            '<module name="b">No</module></module><module name="c"><param name="d" len="2"/>'
            "</module></schema>"
        )
        assert rewrite("Well. Yes.\nWhy?", schema).children[0] == PromptImport("a")

    def test_the_end_of_a_prompt_sees_all_of_it(self) -> None:
        question = "What does the text say of that, in short?"
        schema = parse_schema(
            f'<schema name="s" layout="packed"><module name="q">{question}</module></schema>'
        )
        long = question + " Why? " * 50
        for prompt, imports in [
            (question, 0),
            ("Some text. " + question, 0),
            ("Some text.\n\n" + question + " And why?\n\n", 0),
            (question + "\n\nAnswer:", 1),
            (long, 1),
        ]:
            children = rewrite(prompt, schema).children
            assert sum(isinstance(node, PromptImport) for node in children) == imports
        turns = (Turn("system", question), Turn("user", question))
        system, user = rewrite(turns, schema).children
        assert system == PromptRole("system", (PromptImport("q"),))
        assert user == PromptRole("user", (PromptText(question),))

    @pytest.mark.parametrize(
        "inside",
        ["Always.", '<union required="true"><module name="a">A</module></union>', "<user>U</user>"],
    )
    def test_what_every_prompt_would_have_is_refused(self, inside: str) -> None:
        with pytest.raises(PMLError, match="schema 's' puts something into every prompt"):
            rewrite("Hello", parse_schema(f'<schema name="s">{inside}</schema>'))


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    return Kinds()


class TestRealPrompts:
    """500 prompts of three kinds, and others of these kinds with other questions."""

    def test_held_out_prompts_are_mostly_modules_that_five_prompts_use(self, kinds: Kinds) -> None:
        log, held_out = kinds.log(500), kinds.held_out(150)
        schema = proposed(log)
        count = load_tokenizer(SMOLLM2).encode
        rewriter = Rewriter(schema)
        tally = Tally(rewriter, lambda text: len(count(text)))
        for prompt in rewritten(log, schema):
            tally.add(prompt)
        often = {m.name: m.tokens for m in tally.report().modules if m.prompts >= 5}
        held = Tally(rewriter, lambda text: len(count(text)))
        for prompt in rewritten(held_out, schema):
            held.add(prompt)
        report = held.report()
        reused = sum(often.get(m.name, 0) * m.imports for m in report.modules)
        total = sum(len(count(turn.text)) for request in held_out for turn in request)
        assert report.reused + report.fresh == pytest.approx(total, rel=0.02)
        print(f"\n{reused / total:.1%} of {total:,} held-out tokens, {len(often)} modules")
        assert reused >= 0.8 * total

    def test_tokens_of_much_new_text_are_told_from_a_part_of_it(self) -> None:
        rewriter = Rewriter(Schema("s"))
        tally = Tally(rewriter, lambda text: len(text) // 4)
        for text in ("abcd " * 250_000, "abcd " * 50_000):
            tally.add(rewriter.rewrite(text))
        assert tally.report().fresh == 375_000

    @pytest.mark.parametrize("kind", ["maths", "bank", "meeting"])
    def test_each_kind_alone(self, kinds: Kinds, kind: str) -> None:
        random, make = Random(3), getattr(kinds, kind)
        schema = proposed([make(random, 0) for _ in range(170)])
        held_out = [make(random, 1) for _ in range(50)]
        tally = Tally(Rewriter(schema), len)
        for prompt in rewritten(held_out, schema):
            tally.add(prompt)
        assert tally.report().share > 0.8

    def test_prompts_are_planned_as_they_were_written(self, kinds: Kinds) -> None:
        log = kinds.log(60)
        schema = propose([flatten(request) for request in log], count=lambda text: len(text))
        plans(schema, log)

    def test_the_same_log_gives_the_same_schema(self, kinds: Kinds) -> None:
        assert proposed(kinds.log(100)) == proposed(kinds.log(100))

    @pytest.mark.skipif("PML_DATA" not in os.environ, reason="PML_DATA names no folder of data")
    def test_the_whole_data(self) -> None:
        kinds = Kinds(Path(os.environ["PML_DATA"]))
        schema = proposed(kinds.log(3000))
        tally = Tally(Rewriter(schema), len)
        for prompt in rewritten(kinds.held_out(600), schema):
            tally.add(prompt)
        assert tally.report().share > 0.8
