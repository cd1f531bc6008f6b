"""The laws of what a prompt means before anything is computed: 9, 10 and 17."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import compress, groupby, pairwise, zip_longest
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from spec_documents import DoesNotFit, Tag, read_prompt
from spec_reading import Reading, read
from strategies import (
    LAYOUTS,
    Case,
    cases,
    fitted,
    imported,
    lookalike,
    prompts,
    schemas,
    tokenizers,
    written_out,
)

from minillm.tokenizer import ByteTokenizer, Tokenizer
from pml.context import Node, State, closure
from pml.errors import PMLError
from pml.layout import Layout, lay_out, name_of
from pml.nodes import (
    ContextName,
    LayoutName,
    Prompt,
    PromptModule,
    Schema,
    children_of,
    parameters_of,
    unions_of,
)
from pml.placement import PROMPT
from pml.plan import PromptPlan
from pml.prompt import parse_prompt
from pml.recompute import NOTHING, Recompute
from pml.resolve import Resolver
from pml.schema import parse_schema
from pml.states import ATTENTIONS, states_of
from pml.writer import write_prompt


@given(st.data(), schemas(), tokenizers(), st.sampled_from(ATTENTIONS), st.sampled_from((16, 4)))
def test_law_09_positions_are_accounted_for(
    data: st.DataObject, schema: Schema, tokenizer: Tokenizer, attention: ContextName, short: int
) -> None:
    """Law 9: "tokens that are no ghosts never overlap; union members share a start; every gap is
    accounted for"

    A gap is a place in the layout that the prompt leaves empty: it belongs to a module that is
    not imported or to the rest of a slot. Catches new text over cached text, an argument over the
    text behind it, members of a union one after another, and positions that nobody asked for.
    """
    layout = lay_out(schema, tokenizer)
    states = states_of(layout, attention)

    def planned(prompt: Prompt) -> PromptPlan:
        return Resolver(layout, states, attention, tokenizer, short).resolve(prompt)

    prompt, plan = fitted(planned, data.draw(prompts(schema)))
    used = [p for span in (*plan.reused, *plan.fresh) for p in range(span.start, span.stop)]
    assert len(used) == len(set(used)), "two tokens stand at one position"
    assert plan.next_position == max(used) + 1

    _check_unions(schema, (), layout)
    every = {p for span in layout.spans for p in range(span.start, span.stop)}
    assert every == {*range(layout.length)}, "the layout holds a position that is nobody's"
    if tokenizer.bos_id is not None:
        assert layout.spans[0].tokens == (tokenizer.bos_id,), "BOS is no span of its own"
    selected = {(), *imported(prompt.children)}
    arguments = {span.path: span.stop for span in plan.fresh}
    for position in set(range(layout.length)) - set(used):
        takers = [span for span in layout.spans if span.start <= position < span.stop]
        for span in takers:
            if span.owner in selected:
                name = f"/{'/'.join(span.owner)}:{span.parameter}"
                assert span.parameter is not None, "text of the schema was left out"
                assert position >= arguments.get(name, span.start), "an argument has a hole"
    for span in layout.spans:
        if span.owner in selected and span.parameter is None:
            assert set(range(span.start, span.stop)) <= set(used)


@given(st.data(), schemas(), tokenizers(), st.sampled_from(ATTENTIONS), st.sampled_from((16, 4)))
def test_law_09_packed_positions_are_accounted_for(
    data: st.DataObject, schema: Schema, tokenizer: Tokenizer, attention: ContextName, short: int
) -> None:
    """Law 9 in the layout `packed`: "without the gaps of what was left out (a slot's unused rest
    stays a gap)", and in prompt order.

    Catches an import packed over the one before it, a gap for a module that is not there, text of
    the schema placed twice or lost, and what is repeated or permuted standing in schema order.
    """
    layout = lay_out(schema, tokenizer)
    states = states_of(layout, attention, "packed")

    def planned(prompt: Prompt) -> PromptPlan:
        resolver = Resolver(layout, states, attention, tokenizer, short, "packed")
        return resolver.resolve(prompt)

    prompt, plan = fitted(planned, data.draw(prompts(schema, packed=True)))
    check_packed(prompt, plan, layout, tokenizer)


def check_packed(prompt: Prompt, plan: PromptPlan, layout: Layout, tokenizer: Tokenizer) -> None:
    spans = sorted((*plan.reused, *plan.fresh), key=lambda span: span.start)
    assert all(span.stop <= after.start for span, after in pairwise(spans)), "tokens overlap"
    assert plan.next_position == spans[-1].stop

    asked = read_prompt(prompt, tokenizer)
    text = [token for span in spans if span.path == PROMPT for token in span.tokens]
    assert text == [token for ids in _new_texts(asked) for token in ids]
    own = [span for tag in asked.all() for span in layout.sections[tag.path].spans]
    given = sum(len(span.tokens) for span in spans if ":" in span.path)
    slots = sum(len(span.tokens) for span in own if span.parameter is not None)
    used = sum(len(span.tokens) for span in spans)
    assert used == len(text) + given + sum(len(span.tokens) for span in own) - slots
    empty = plan.next_position - used
    assert empty <= slots - given, "a position is empty that is no slot's"
    # A slot at the very end is not reached by `next_position` unless the prompt's last text is
    # behind it: new text that ends the tag of an import stands before what its owner has left.
    sections = [layout.sections[tag.path].spans for tag in asked.all()]
    open_end = not asked.texts[-1] and any(s and s[-1].parameter is not None for s in sections)
    assert empty == slots - given or spans[-1].path != PROMPT or open_end

    owners = {name_of(span.owner, span.parameter): span.owner for span in layout.spans}
    stand = [owners[span.path] for span in spans if span.path != PROMPT]
    for depth in range(1, 5):
        found = [path[:depth] for path in stand if len(path) >= depth]
        wanted = [tag.path for tag in asked.all() if len(tag.path) == depth and _holds(tag, layout)]
        assert [path for path, _ in groupby(found)] == [path for path, _ in groupby(wanted)]


def test_an_empty_slot_behind_the_last_text_is_no_gap() -> None:
    """New text in the last import's tag, and behind it a slot of the schema that is left empty:
    the answer goes on at the text."""
    text = '<schema name="s"><module name="m">one</module><param name="p" len="3"/></schema>'
    tokenizer = ByteTokenizer(bos=False)
    layout = lay_out(parse_schema(text), tokenizer)
    states = states_of(layout, "guaranteed", "packed")
    resolver = Resolver(layout, states, "guaranteed", tokenizer, 16, "packed")
    prompt = parse_prompt('<prompt schema="s" p=""><m>two</m></prompt>')
    plan = resolver.resolve(prompt)
    assert plan.next_position == 6
    check_packed(prompt, plan, layout, tokenizer)


def _new_texts(tag: Tag) -> Iterator[list[int]]:
    for ids, child in zip_longest(tag.texts, tag.imports):
        yield ids
        if child is not None:
            yield from _new_texts(child)


def _holds(tag: Tag, layout: Layout) -> bool:
    """Whether an import brings any token that is no new text."""
    section = layout.sections[tag.path]
    texts = [tag.arguments.get(p.name, p.default) for p in parameters_of(section.module).values()]
    own = any(span.parameter is None for span in section.spans)
    return own or any(texts) or any(_holds(child, layout) for child in tag.imports)


def _check_unions(owner: Schema | PromptModule, path: tuple[str, ...], layout: Layout) -> None:
    for union in unions_of(owner):
        regions = [layout.sections[*path, member.name or ""] for member in union.members]
        assert len({region.start for region in regions}) == 1, "a union's members do not share"
        stop = max(region.start + region.length for region in regions)
        whole = [r for r in layout.regions if r.kind == "union" and r.path == path]
        assert any((r.start, r.start + r.length) == (regions[0].start, stop) for r in whole)
    for name, module in children_of(owner).items():
        inner, outer = layout.sections[*path, name], layout.sections[path]
        assert outer.start <= inner.start
        assert inner.start + inner.length <= outer.start + outer.length
        _check_unions(module, (*path, name), layout)


@given(st.data(), schemas())
def test_law_10_a_written_prompt_is_parsed_again(data: st.DataObject, schema: Schema) -> None:
    """Law 10: "parse → write → parse is the identity", here for prompts; `tests/pml/test_writer.py`
    holds it for schemas.

    Catches text that is lost or doubled between tags, and a name or an argument read wrong.
    """
    prompt = data.draw(prompts(schema))
    assert parse_prompt(write_prompt(prompt)) == prompt


@given(
    schemas(),
    st.randoms(use_true_random=False),
    tokenizers(),
    st.sampled_from(LAYOUTS),
    st.sampled_from(ATTENTIONS),
)
def test_a_key_is_what_a_state_is(
    schema: Schema,
    random: Random,
    tokenizer: Tokenizer,
    positions: LayoutName,
    attention: ContextName,
) -> None:
    """Section 1: a state is its tokens, the mark of a placeholder, and its context: states, each
    with its displacement. Equal keys, equal states, and the other way round; the origin is no part.

    Compared are all states of a schema, of one that looks much the same, and of one with texts in
    place of parameters, with a tokenizer that gives a "0" of a text the id that holds their places.
    """
    tokenizer = ByteTokenizer(bos=tokenizer.bos_id is not None)
    tokenizer.placeholder_id = ord("0")
    numbers: dict[object, int] = {}  # of contents, told apart by all that they are
    known: dict[str, int] = {}
    for one in (schema, lookalike(schema, random), written_out(schema, "0")):
        states = states_of(lay_out(one, tokenizer), attention, positions)
        all_states = [*states.base, *(s for one in states.scaffolds for s in one.values())]
        numbered: dict[State, int] = {}
        for node in closure(Node(state, state.origin) for state in all_states):
            state = node.state
            seen = frozenset((o.start - node.start, numbered[o.state]) for o in node.context)
            content = (state.tokens, state.is_placeholder, seen)
            numbered[state] = numbers.setdefault(content, len(numbers))
            assert known.setdefault(state.key, numbered[state]) == numbered[state]
    assert len(known) == len(numbers)


@given(cases(), st.randoms(use_true_random=False))
def test_the_choice_of_states_knows_nothing_of_the_store(case: Case, random: Random) -> None:
    """Section 2: "The choice is a function of schema, prompt and options, never of what the store
    happens to hold: a missing state is encoded first."

    The store holds any part of what prompts of the schema can use. Catches a plan that takes what
    is there instead of what is richest, and a state that is looked up besides those of the plan.
    """
    cache = case.cold()
    cache.encode_schema("s")
    store = cache.store
    for key in [key for key in store if random.random() < 0.5]:
        store.remove(key)
    assert cache.plan(case.prompt) == case.plan
    missing, hits, misses = cache.missing(case.plan), store.hits, store.misses
    prefilled = cache.prefill(case.prompt)
    assert prefilled.plan == case.plan
    assert prefilled.usage.encoded_tokens == sum(len(state.tokens) for state in missing)
    assert store.misses - misses == len(missing)
    assert store.hits - hits == len(case.plan.states) - len(missing)


def recomputes() -> st.SearchStrategy[Recompute]:
    """Often nothing; never what a model has to measure."""
    positions = st.frozensets(st.integers(0, 99), max_size=9)
    return st.just(NOTHING) | st.builds(
        Recompute, st.integers(0, 9), st.integers(0, 9), positions | st.just(frozenset())
    )


EXAMPLES = settings().max_examples
# For each layout 2,500 in `make test`; no more than others have where these are many.
PAIRS = min(25 * EXAMPLES // 2, max(EXAMPLES, 2_500))


@pytest.mark.parametrize("positions", LAYOUTS)
@settings(max_examples=PAIRS)
@given(st.data(), schemas(), tokenizers(), st.sampled_from(ATTENTIONS))
def test_law_17_the_plan_is_what_the_page_says(
    positions: LayoutName,
    data: st.DataObject,
    schema: Schema,
    tokenizer: Tokenizer,
    attention: ContextName,
) -> None:
    """Law 17: "The mask and positions that `pml.plan` gives = those that a brute-force reading of
    this page, written in the tests without `pml.plan`, gives."

    Compared are all tokens with their ids, positions, kinds and whom they see. The prompt as it was
    drawn may not fit, which both must say; then what fits of it is compared. Catches a plan and an
    oracle that agree with each other and both differ from the page: what law 1 cannot see.
    """
    layout = lay_out(schema, tokenizer)
    states = states_of(layout, attention, positions)
    lengths = {len(span.tokens) for span in layout.spans if span.owner == ()}
    short = data.draw(st.sampled_from(sorted({0, 16, *lengths})))

    recompute = data.draw(recomputes())

    def planned(prompt: Prompt) -> PromptPlan:
        resolver = Resolver(layout, states, attention, tokenizer, short, positions)
        return resolver.resolve(prompt, recompute)

    def expected(prompt: Prompt) -> tuple[Reading, int]:
        return read(schema, prompt, tokenizer, positions, attention, short, recompute)

    prompt = data.draw(prompts(schema, positions == "packed"))
    try:
        ours = _structure(planned(prompt))
    except PMLError as error:
        event("does not fit")
        with pytest.raises(DoesNotFit) as refused:
            expected(prompt)
        _check_counts(error.message, refused.value)
        prompt, plan = fitted(planned, prompt)
        ours = _structure(plan)
    assert ours == expected(prompt)


def _check_counts(message: str, refused: DoesNotFit) -> None:
    """New text that does not fit: "an error that says how many tokens fit and how many came, and
    names `layout="packed"`"."""
    if refused.came:
        came, fit = (int(number) for number in re.findall(r"\d+(?= tokens?\b)", message))
        assert (came, fit) == (refused.came, refused.fit)
        assert 'layout="packed"' in message
    else:
        assert "the prompt holds no token" in message


def _structure(plan: PromptPlan) -> tuple[Reading, int]:
    """What the plan says, in the form of `spec_reading.read`."""
    kinds = [str(span.kind) for span in plan.spans for _ in span.tokens]
    named = list(zip(plan.positions(), plan.tokens(), kinds, strict=True))
    order = sorted(range(len(named)), key=named.__getitem__)
    rows = plan.visibility()[:, order].tolist()
    names = [named[index] for index in order]
    reading = Counter(zip(named, (tuple(compress(names, row)) for row in rows), strict=True))
    return reading, plan.next_position
