"""The laws of the engine: 1, 2, 8, 13 and 15."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from random import Random

import torch
from checks import assert_same, continued, encoded, placed, recorded
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import (
    LAYOUTS,
    Case,
    byte_tokenizer,
    cases,
    engine,
    fitted,
    loaded,
    lookalike,
    models,
    other_words,
    prompts,
    recomputes,
    scaffold_words,
    schemas,
    texts,
)

from minillm.kv import KVSegment, Placed
from pml.context import Node
from pml.deviation import compared_layer, deviating
from pml.encoder import Encoder, Job
from pml.engine import PromptCache
from pml.errors import PMLError
from pml.nodes import (
    ModulePath,
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Scaffold,
    Schema,
    SchemaNode,
    children_of,
    parameters_of,
)
from pml.recompute import Recompute
from pml.reference import answered_oracle, full_prefill, oracle
from pml.rules import scaffold_paths
from pml.states import ATTENTIONS
from pml.steps import finish
from pml.writer import write_prompt, write_schema

DECODED = 4


@given(cases())
def test_law_01_engine_equals_oracle(case: Case) -> None:
    """Law 1: "engine = oracle, for every family, layout, context and option"

    The last prompt token's logits and those of each greedy decode step, through the store, the
    buffer and the fast attention, against one readable pass under the mask; answered twice, since
    the first answer must leave nothing behind. Catches whatever is
    wrong between the plan and the logits: a segment in the wrong place, a token seen that must
    not be, keys turned twice, a decode step at the wrong position, a chunk's mask cut wrong.
    """
    prefilled = case.cache.prefill(case.prompt)
    answers, steps = [], []
    for _ in range(2):
        logits, handle = recorded(case.model)
        with handle:
            answers.append(list(case.cache.decode(prefilled, max_tokens=DECODED)))
        steps.append([prefilled.logits, *logits])
    assert answers[0] == answers[1]
    tokens = tuple(delta.token for delta in answers[0] if delta.token is not None)
    assert len(steps[0]) == len(tokens) + (answers[0][-1].finish_reason == "stop")
    expected = answered_oracle(case.model, case.plan, tokens[: len(steps[0]) - 1])
    for found in steps:
        for row, logits in zip(found, expected, strict=True):
            assert_same(row, logits)
    assert tuple(expected.argmax(dim=1).tolist())[: len(tokens)] == tokens


@given(cases())
def test_law_01_in_float32(case: Case) -> None:
    """Law 1 in the precision of use: "float32: 1e-4 of the logit range" (section 1).

    Catches positions, biases or angles taken in the model's own dtype, and a sum over many keys
    that loses what it adds.
    """
    model = deepcopy(case.model).float()
    narrow = loaded(model, case.cache.model.tokenizer)
    cache = case.engine(narrow)
    expected = oracle(model, case.plan)
    difference = (cache.prefill(case.prompt).logits - expected).abs().max()
    assert float(difference) <= 1e-4 * float(expected.max() - expected.min())


@given(cases(), recomputes())
def test_law_01_with_recomputed_tokens(case: Case, recompute: Recompute) -> None:
    """Law 1 for recompute sets of all selectors together: "The old version stays as a ghost for the
    tokens that saw it."

    Catches a recomputed token that is seen twice, or by what was encoded seeing its old version;
    a segment whose rest is put at the wrong positions; and a selector that takes other tokens than
    it says.
    """
    cache, before = case.cache, case.plan
    plan = cache.plan(case.prompt, recompute=recompute)
    assert_same(cache.prefill(plan).logits, oracle(case.model, plan))

    cached = {p for span in before.reused for p in range(span.start, span.stop)}
    left = {p for span in plan.reused for p in range(span.start, span.stop)}
    again = cached - left
    assert left <= cached
    assert plan.selected() == before.selected()
    assert recompute.positions & cached <= again
    assert len(again) >= round(recompute.deviating * len(own_of(case)))
    usage = cache.prefill(plan).usage
    assert usage.recomputed_tokens == before.num_recomputed + len(again)
    assert usage.fresh_tokens == before.num_fresh + len(again)


def own_of(case: Case) -> set[int]:
    """The positions of the cached tokens that are of text: what is beyond the vocabulary is a
    header's, and the same whatever it sees."""
    size, reused = case.model.config.vocab_size, case.plan.reused
    return {p for s in reused for p, token in enumerate(s.tokens, s.start) if token < size}


@settings(max_examples=settings().max_examples // 4)
@given(cases(), st.floats(0, 1))
def test_what_deviates_most_is_recomputed(case: Case, share: float) -> None:
    """The selector of `deviating`, which law 1 holds for whatever it takes: values as the buffer
    holds them, beside those of a full prefill.

    Catches another layer, a token compared with another one, and a sort upside down.
    """
    assume(case.plan.num_cached)
    stored, true = case.model.new_cache(), case.model.new_cache()
    stored.bring(placed(case))
    full_prefill(case.model, case.plan, true, at_own_positions=True)
    order = torch.searchsorted(true.positions, stored.positions)
    layer = compared_layer(case.model.config)
    differences = true.values(layer)[:, order] - stored.values(layer)
    away = differences.square().sum(dim=(0, 2))

    chosen = deviating(case.model, case.plan, encoded(case.cache, case.plan), share)
    own = own_of(case)
    assert chosen <= own and len(chosen) == round(share * len(own))
    is_chosen = torch.tensor([at in chosen for at in stored.positions.tolist() if at in own])
    away = away[[at in own for at in stored.positions.tolist()]]
    if 0 < len(chosen) < len(own):
        assert float(away[is_chosen].min()) >= float(away[~is_chosen].max()) * (1 - 1e-5) - 1e-9


@given(st.data(), cases(attentions=("learned", "learned", "learned", *ATTENTIONS)))
def test_law_01_with_learned_contexts(data: st.DataObject, case: Case) -> None:
    """Law 1 for `learned`: after one prompt another is answered that begins like it, or not. Under
    any other attention nothing is learned: the choice is a function of the options.

    Catches content that is taken for the same though it stood at another distance or after other
    words, a state that is used without being encoded, and modules called `isolated` that have seen
    a prompt.
    """
    cache = case.cold()
    cache.prefill(case.plan)
    cache.learn(case.plan)
    again = cache.plan(case.prompt)
    if case.plan.attention != "learned":
        assert again == case.plan
        return
    assert again.num_fresh == 1  # the last token, which the answer starts from
    assert_same(cache.prefill(again).logits, oracle(case.model, again))
    full = full_prefill(case.model, again, at_own_positions=True)
    assert_same(cache.prefill(again).logits, full)

    tail = (*case.prompt.children, PromptText(data.draw(texts(8))))
    unlike = data.draw(prompts(case.schema, case.layout == "packed"))
    for other in (replace(case.prompt, children=tail), unlike):
        prompt, plan = fitted(cache.plan, other)
        assert_same(cache.prefill(prompt).logits, oracle(case.model, plan))


@given(cases())
def test_law_14_everything_recomputed_is_full_prefill(case: Case) -> None:
    """Law 14: "everything recomputed = full prefill"

    Catches a cached token that stays visible beside its recomputed self, and a recomputed one that
    sees less than the prompt holds before it.
    """
    everything = Recompute(positions=frozenset(range(case.plan.next_position)))
    plan = case.cache.plan(case.prompt, recompute=everything)
    assert plan.num_cached == 0
    full = full_prefill(case.model, plan, at_own_positions=True)
    assert_same(case.cache.prefill(plan).logits, full)


@given(cases())
def test_law_14_what_has_not_seen_all_recomputed_is_full_prefill(case: Case) -> None:
    """Law 14 for `quality="exact"`: what is left of the stored states are those of a full prefill.

    Catches a state that is taken for one of the prompt's own pass though it saw less, something
    else, or the same elsewhere.
    """
    plan = case.cache.plan(case.prompt, recompute=Recompute(unseen=True))
    full = full_prefill(case.model, plan, at_own_positions=True)
    assert_same(case.cache.prefill(plan).logits, full)


@st.composite
def scaffolded(draw: st.DrawFn) -> tuple[PromptCache, Prompt]:
    """A schema with a scaffold of some modules, and the prompt of these in the schema's order."""
    schema = draw(schemas(parameters=False))
    words = scaffold_words(schema)
    assume(schema.scaffolds)
    members = {
        path[:depth]
        for path in scaffold_paths(schema, schema.scaffolds[0])
        for depth in range(1, len(path) + 1)
    }
    assume(all("/".join(path) in words for path in members))
    scaffold = Scaffold(tuple("/".join(path) for path in sorted(members)))
    children = (*_import_all(schema, (), members), PromptText("What now?"))
    model = loaded(draw(models()), byte_tokenizer(draw(st.booleans())))
    attention, layout = (
        draw(st.sampled_from(("isolated", "guaranteed"))),
        draw(st.sampled_from(LAYOUTS)),
    )
    cache = engine(model, replace(schema, scaffolds=(scaffold,)), attention, layout=layout)
    return cache, Prompt("s", children=children)


def _import_all(
    owner: Schema | PromptModule, path: ModulePath, wanted: set[ModulePath]
) -> tuple[PromptNode, ...]:
    return tuple(
        PromptImport(name, children=_import_all(module, (*path, name), wanted))
        for name, module in children_of(owner).items()
        if (*path, name) in wanted
    )


@given(scaffolded())
def test_law_14_a_scaffold_of_all_is_full_prefill(scaffolded: tuple[PromptCache, Prompt]) -> None:
    """Law 14: "a scaffold of all selected modules = full prefill, without parameters, in schema
    order (packed: contiguous), with no prompt text before a cached token"

    Catches a member that does not see another, a further state that is not taken though it is
    richer, and a scaffold that is encoded at other distances than the prompt has.
    """
    cache, prompt = scaffolded
    try:
        plan = cache.plan(prompt)
    except PMLError:  # Another module is required beside them.
        assume(False)
    assume(plan.num_cached)
    full = full_prefill(cache.model.transformer, plan, at_own_positions=True)
    assert_same(cache.prefill(plan).logits, full)


@given(cases(), st.randoms(use_true_random=False), st.sampled_from(ATTENTIONS))
def test_law_01_whatever_the_store_holds(case: Case, random: Random, attention: str) -> None:
    """Law 1 when the store holds the states of a schema that looks much the same.

    Catches a key that leaves out something of what a state is: a token, the mark of a placeholder,
    a part of its context, or how far away that stood.
    """
    store = case.cache.store
    alike = lookalike(case.schema, random)
    other = engine(case.cache.model, alike, attention, store=store, layout=case.layout)
    other.encode_schema("s")
    assert_same(case.cache.prefill(case.plan).logits, oracle(case.model, case.plan))


@given(cases(), st.randoms(use_true_random=False))
def test_law_02_order_of_segments_changes_nothing(case: Case, random: Random) -> None:
    """Law 2: "the order of stored or placed segments changes nothing"

    Placed: the segments are brought into the buffer in any order. Stored: every state is encoded
    seeing its context in any order. Catches a mask or a bias that is made from slots, "the last n
    slots are mine", and a key's buffer index that is used as its position.
    """
    segments = placed(case)
    expected = continued(case.model, segments, case.plan)
    random.shuffle(segments)
    assert_same(continued(case.model, segments, case.plan), expected)

    scratch = Encoder(case.model)
    stored = encoded(case.cache, case.plan)
    for state, segment in stored.items():
        context = [Placed(stored[n.state], n.start) for n in Node(state, state.origin).context]
        random.shuffle(context)
        (again,) = finish(scratch.encode([Job(state, context)]))
        assert_same(again.block, segment.block)
        assert torch.equal(again.offsets, segment.offsets)


@given(cases(attentions=[name for name in ATTENTIONS if name != "joint"]))
def test_law_08_unselected_modules_change_nothing(case: Case) -> None:
    """Law 8: "Non-interference. The answer to a prompt does not depend on any module that it does
    not import: no key or value of an unselected token is ever read. Changing an unselected module's
    words (same token count in the fixed layout, any words in the packed one) leaves the logits
    bit-identical when states are encoded one to a forward, and equal to 1e-12 (float64) when many
    are encoded together."

    Catches a state encoded over its whole schema (as the public code does), a union's member that
    is seen through the positions it shares, and a look-up of the wrong state.
    """
    words = other_words if case.layout == "fixed" else lambda text: other_words(text) + "?!"
    prompt, reworded = case.prompt, _reworded(case.schema, case.prompt, words)
    if reworded == case.schema and any(isinstance(c, PromptImport) for c in prompt.children):
        texts = tuple(c for c in prompt.children if not isinstance(c, PromptImport))
        prompt = replace(prompt, children=(*texts, PromptText("Go!")))
        reworded = _reworded(case.schema, prompt, words)
    assume(reworded != case.schema)
    try:
        prompt, _ = fitted(case.cache.plan, prompt)
    except PMLError:  # It left out what is required.
        assume(False)
    expected = case.cold().prefill(prompt).logits
    alone, together = case.engine(schema=reworded), case.engine(schema=reworded)
    assert torch.equal(alone.prefill(prompt).logits, expected)
    alone.encode_schema("s")
    _poison(alone, prompt)
    alone.forget_buffer()
    assert torch.equal(alone.prefill(prompt).logits, expected)
    together.encode_schema("s")
    assert_same(together.prefill(prompt).logits, expected, 1e-12)


def _poison(cache: PromptCache, prompt: Prompt) -> None:
    """Make every stored number NaN that the prompt has no right to read."""
    needed = {cache.key_of(state) for state in cache.plan(prompt).states}
    for key in cache.store:
        segment = cache.store.get(key)
        if key not in needed and segment is not None:
            nan = torch.full_like(segment.block, float("nan"))
            cache.store.put(key, KVSegment(nan, segment.offsets, segment.origin))


def _reworded(schema: Schema, prompt: Prompt, words: Callable[[str], str]) -> Schema:
    """The schema with other words in all that the prompt does not import."""

    def reword(
        nodes: tuple[SchemaNode, ...], imports: dict[str, tuple[PromptNode, ...]], change: bool
    ) -> tuple[SchemaNode, ...]:
        found: list[SchemaNode] = []
        for node in nodes:
            if isinstance(node, PromptText):
                found.append(replace(node, text=words(node.text)) if change else node)
            elif isinstance(node, PromptParameter):
                default = node.default and other_words(node.default)
                stand_in = node.scaffold and other_words(node.scaffold)
                other = replace(node, default=default, scaffold=stand_in)
                found.append(other if change else node)
            elif isinstance(node, PromptUnion):
                members = reword(node.members, imports, change)
                modules = tuple(member for member in members if isinstance(member, PromptModule))
                found.append(replace(node, members=modules))
            elif isinstance(node, PromptModule) and node.name is not None:
                inner = _imports(imports.get(node.name, ()))
                children = reword(node.children, inner, change or node.name not in imports)
                found.append(replace(node, children=children))
            else:
                found.append(replace(node, children=reword(node.children, imports, change)))
        return tuple(found)

    return replace(schema, children=reword(schema.children, _imports(prompt.children), False))


def _imports(nodes: tuple[PromptNode, ...]) -> dict[str, tuple[PromptNode, ...]]:
    """The children of all imports of each name together."""
    found: dict[str, tuple[PromptNode, ...]] = {}
    for node in nodes:
        if isinstance(node, PromptImport):
            found[node.name] = (*found.get(node.name, ()), *node.children)
        elif isinstance(node, PromptRole):
            for name, children in _imports(node.children).items():
                found[name] = (*found.get(name, ()), *children)
    return found


@st.composite
def lone_imports(draw: st.DrawFn) -> tuple[PromptCache, Prompt]:
    """A prompt that imports one module, with what is around it, and says something after it."""
    schema = draw(schemas(parameters=draw(st.booleans())))
    if draw(st.booleans()):  # Few modules lie in another one, with text before both.
        around = PromptModule("o", children=(PromptRole("user"), *schema.children))
        schema = Schema("s", children=(PromptText(draw(texts(6))), around))
    path: list[PromptModule] = []
    owner: Schema | PromptModule = schema
    while not path or (children_of(owner) and draw(st.integers(0, 3))):
        assume(children_of(owner))
        owner = draw(st.sampled_from(list(children_of(owner).values())))
        path.append(owner)
    assume(not parameters_of(schema) and not any(parameters_of(module) for module in path))
    tag: tuple[PromptNode, ...] = ()
    for module in reversed(path):
        tag = (PromptImport(module.name or "", children=tag),)
    prompt = Prompt("s", children=(*tag, PromptText("What now?")))
    model = loaded(draw(models()), byte_tokenizer(draw(st.booleans())))
    # Anonymous text behind the module is fresh, however long.
    layout = draw(st.sampled_from(LAYOUTS))
    return engine(model, schema, "guaranteed", fresh_anonymous=10**6, layout=layout), prompt


@given(lone_imports())
def test_law_13_guaranteed_equals_full_prefill(lone: tuple[PromptCache, Prompt]) -> None:
    """Law 13: "`guaranteed` = full prefill for one imported module, if it, its ancestors and the
    anonymous text have no parameter, no cached token follows it and no prompt text precedes it"

    Catches a context that lacks something which every prompt holds there: BOS, anonymous text, an
    ancestor's own text, the module's own earlier spans.
    """
    cache, prompt = lone
    try:
        plan = cache.plan(prompt)
    except PMLError:  # Another module is required beside it.
        assume(False)
    path = "/" + "/".join(_path(prompt))
    end = max((span.stop for span in plan.spans if span.path == path), default=0)
    assume(end and not any(span.stop > end for span in plan.reused))
    full = full_prefill(cache.model.transformer, plan, at_own_positions=True)
    assert_same(cache.prefill(prompt).logits, full)


def _path(prompt: Prompt) -> list[str]:
    names, children = [], prompt.children
    while children and isinstance(children[0], PromptImport):
        names.append(children[0].name)
        children = children[0].children
    return names


@given(st.data(), cases(), st.randoms(use_true_random=False))
def test_law_15_warm_equals_cold(data: st.DataObject, case: Case, random: Random) -> None:
    """Law 15: "warm = cold: the same prompt twice gives the same tokens, with a hit counter that
    proves the second was a hit"

    Asked as text; in between the buffer holds another prompt of the schema, the same one behind
    other words, and the same of a schema that looks much the same. Catches a store that gives
    another state than it was given, a buffer that keeps what it should not, or where it should not,
    and answers that are right only because everything is computed again.
    """
    cache, store = case.cache, case.cache.store
    states = len(case.plan.states)
    text = write_prompt(case.prompt)
    cold, logits = cache.generate(text, max_tokens=DECODED), cache.prefill(case.plan).logits
    assert cold.usage.encoded_tokens == sum(len(state.tokens) for state in case.plan.states)
    assert (store.hits, store.misses) == (states, states)

    moved = replace(case.prompt, children=(PromptText("So "), *case.prompt.children))
    for unlike in (data.draw(prompts(case.schema, case.layout == "packed")), moved):
        between = fitted(cache.plan, unlike)[1]
        assert_same(cache.prefill(between).logits, oracle(case.model, between))
        assert_same(cache.prefill(case.plan).logits, logits, 1e-12)
    cache.add_schema(write_schema(replace(lookalike(case.schema, random), name="t")))
    other = fitted(cache.plan, replace(case.prompt, schema="t"))[1]
    assert_same(cache.prefill(other).logits, oracle(case.model, other))
    hits, misses = store.hits, store.misses
    warm = cache.generate(text, max_tokens=DECODED)
    assert warm.usage.encoded_tokens == 0
    assert (store.hits, store.misses) == (hits + states, misses)
    assert warm.usage.cached_tokens == cold.usage.cached_tokens == case.plan.num_cached
    assert (warm.tokens, warm.text) == (cold.tokens, cold.text)
    assert_same(cache.prefill(case.plan).logits, logits, 1e-12)
