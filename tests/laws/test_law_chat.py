"""The law of chats: at every turn a chat is one prompt, and equals the oracle of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from checks import assert_same, recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    byte_tokenizer,
    engine,
    fitted,
    loaded,
    models,
    prompts,
    schemas,
    texts,
    tokenizers,
)

from minillm import kv, load
from minillm.model import Cancelled, Transformer
from minillm.sampling import Sampling
from minillm.tokenizer import Tokenizer
from pml.chat import Chat
from pml.engine import PromptCache
from pml.nodes import Prompt, PromptImport, PromptNode, PromptRole, PromptText, Schema, places_of
from pml.plan import PromptPlan
from pml.prompt import parse_turn
from pml.recompute import NOTHING, Recompute
from pml.reference import answered_oracle
from pml.states import ATTENTIONS
from pml.writer import write_schema

TURNS = 20


@dataclass
class Talk:
    """A chat, and which members of the schema's own unions it has imported."""

    chat: Chat
    members: dict[int, str]

    def fork(self) -> Talk:
        return Talk(self.chat.fork(), dict(self.members))


def turn_of(data: st.DataObject, schema: Schema, talk: Talk) -> Prompt:
    """A turn that fits the turns before it: a prompt less what contradicts them, and some text."""
    prompt = data.draw(prompts(schema, packed=True))
    children = [*_without_rivals(prompt.children, schema, talk.members)]
    if not any(isinstance(child, PromptText) for child in children) or data.draw(st.booleans()):
        children.append(PromptText(data.draw(texts(8))))  # a module may hold no token
    is_first = talk.chat.plan.is_empty
    return replace(prompt, children=tuple(children), arguments=prompt.arguments if is_first else {})


def _without_rivals(
    nodes: tuple[PromptNode, ...], schema: Schema, members: dict[int, str]
) -> Iterator[PromptNode]:
    for node in nodes:
        if isinstance(node, PromptRole):
            yield replace(node, children=tuple(_without_rivals(node.children, schema, members)))
        elif isinstance(node, PromptImport) and (union := places_of(schema)[node.name].union):
            if members.setdefault(id(union), node.name) == node.name:
                yield node
        else:
            yield node


def answered(
    cache: PromptCache, talk: Talk, turn: Prompt, max_tokens: int = 2, tolerance: float = 1e-9
) -> None:
    """One turn is answered, and all logits on the way are the oracle's."""
    before, model = talk.chat.plan, cache.model.transformer
    logits, handle = recorded(model)
    with handle:
        answer = talk.chat.send(turn, max_tokens=max_tokens)
    # Encoding gives no logits: these are of the turn's last token and of each token after it.
    assert len(logits) == len(answer.tokens) + (answer.finish_reason == "stop")
    taken = answer.tokens[: len(logits) - 1]
    expected = answered_oracle(model, answer.plan, taken, explicit=False)
    for found, row in zip(logits, expected, strict=True):
        assert_same(found, row, tolerance)
    assert_goes_on(before, answer.plan)
    assert_goes_on(answer.plan, talk.chat.plan)
    assert talk.chat.plan.selected() == [*answer.plan.selected(), *answer.tokens]
    added = answer.plan.num_cached + answer.plan.num_fresh - before.num_cached - before.num_fresh
    assert answer.usage.prompt_tokens == added


def assert_goes_on(before: PromptPlan, after: PromptPlan) -> None:
    """What stood stands, as it was."""
    assert after.placed[: len(before.placed)] == before.placed
    assert after.texts[: len(before.texts)] == before.texts
    assert {node: after.recomputed.get(node) for node in before.recomputed} == before.recomputed
    new = {node.start for node in after.placed[len(before.placed) :]}
    new |= {text.start for text in after.texts[len(before.texts) :]}
    assert all(start >= before.next_position for start in new)


ENDLESS = Sampling(logit_bias=dict.fromkeys(byte_tokenizer(True).stop_ids, -100))
"""Draws no token that ends an answer."""


def broken_off(data: st.DataObject, chat: Chat, turn: Prompt) -> None:
    """The turn is begun and not answered to its end, which leaves no trace."""
    before = (chat.plan, chat.usage)
    if data.draw(st.booleans()):
        with pytest.raises(Cancelled):
            chat.send(turn, cancelled=lambda: True)
    else:
        next(chat.stream(turn, max_tokens=3, sampling=ENDLESS))
    assert (chat.plan, chat.usage) == before


RECOMPUTES = (NOTHING, Recompute(first=2, after_parameters=1), Recompute(deviating=0.3))


@settings(max_examples=max(1, settings().max_examples // 20))
@given(
    st.data(),
    schemas(),
    models(),
    tokenizers(),
    st.sampled_from(ATTENTIONS),
    st.sampled_from((16, 4)),
    st.sampled_from(RECOMPUTES),
)
def test_law_01_a_chat_equals_the_oracle_at_every_turn(
    data: st.DataObject,
    schema: Schema,
    model: Transformer,
    tokenizer: Tokenizer,
    attention: str,
    short: int,
    recompute: Recompute,
) -> None:
    """Law 1 for chats: 20 turns with imports in any of them, forked twice; the forks go on between
    the turns of the chat that they left.

    Catches a module of a later turn at a position that is taken, one that is seen by what was said
    before it, or placed over it; an answer's last token that is never taken in; what is left of a
    turn that was broken off; a turn after which earlier tokens are others; and forks that share
    what they write to.
    """
    cache = PromptCache(
        loaded(model, tokenizer),
        attention=attention,
        layout="packed",
        fresh_anonymous=short,
        recompute=recompute,
    )
    cache.add_schema(write_schema(schema))
    price = data.draw(st.sampled_from((kv.STRETCH, 0.0)))  # at 0 keys are never turned
    with patch.multiple(kv, STRETCH=price, QUERY=0.0):
        _talk(data, schema, cache)


def _talk(data: st.DataObject, schema: Schema, cache: PromptCache) -> None:
    talks = [Talk(cache.chat("s"), {})]
    forks = data.draw(st.sets(st.integers(1, TURNS - 2), min_size=2, max_size=2))
    for number in range(TURNS):
        if number in forks:
            talks.append(data.draw(st.sampled_from(talks)).fork())
        goes_on = [
            talk for talk in talks[1:] if number in forks or data.draw(st.integers(0, 3)) == 0
        ]
        for talk in data.draw(st.permutations([*goes_on, talks[0]])):
            turn = turn_of(data, schema, talk)
            if data.draw(st.integers(0, 5)) == 0:
                broken_off(data, talk.chat, turn)
            answered(cache, talk, turn, data.draw(st.integers(1, 2)))
            if talk.chat.plan.attention == "learned" and data.draw(st.integers(0, 5)) == 0:
                cache.learn(talk.chat.plan)


@given(st.data(), schemas(), models(), tokenizers(), st.sampled_from(ATTENTIONS))
def test_a_chat_of_one_turn_is_a_prompt(
    data: st.DataObject,
    schema: Schema,
    model: Transformer,
    tokenizer: Tokenizer,
    attention: str,
) -> None:
    """Catches a chat that reads its turns, or chooses states, by other rules than prompts."""
    cache = engine(loaded(model, tokenizer), schema, attention, layout="packed")
    prompt, plan = fitted(cache.plan, data.draw(prompts(schema, packed=True)))
    answer = cache.chat("s").send(prompt, max_tokens=2)
    assert answer.plan == plan
    assert answer.tokens == cache.generate(prompt, max_tokens=2).tokens


DOCUMENTS = """<schema name="library" layout="packed">
  <scaffold modules="rome whale"/>
  <system>You answer from the documents.
    <module name="rome">Rome was founded in 753 BC by <param name="who" len="6"/>.</module>
    <module name="whale">The blue whale is the largest animal that has ever lived.</module>
    <module name="tea">Green tea is steeped for <param name="how" len="8" default="two minutes"/>.
      <module name="black">Black tea takes boiling water.</module></module>
    Keep to them.</system>
</schema>"""
IMPORTS = {
    0: '<rome who="Romulus"/>',
    3: "<whale/>",
    7: '<tea how="a minute"><black/></tea>',
    8: "<whale/>",
    12: '<rome who="twins"/>',
    17: "<tea/>",
}


@pytest.mark.model
def test_20_turns_forked_twice_equal_the_oracle_on_the_real_model() -> None:
    weights = Path(__file__).parents[2] / "weights" / "smollm2-135m-instruct"
    cache = PromptCache(load(weights, dtype=torch.float32))
    cache.add_schema(DOCUMENTS)
    talks = [Talk(cache.chat("library"), {})]
    for number in range(20):
        if number in (5, 11):
            talks.append(talks[-1].fork())
        turn = parse_turn(f"{IMPORTS.get(number, '')}<user>Why {number}?</user>", "library")
        answered(cache, talks[0], turn, 2 if number % 5 == 0 else 1, 1e-4)
        if number in (5, 11, 12):
            for talk in talks[1:]:
                answered(cache, talk, parse_turn("<whale/><user>So?</user>", "library"), 1, 1e-4)
    reused = {span.path for span in talks[0].chat.plan.reused}
    assert {"/rome", "/whale", "/tea", "/tea/black"} <= reused
