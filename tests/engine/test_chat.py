"""Chats: what is taken, refused and left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_model import write_checkpoint

from minillm import LoadedModel, LoadError, Transformer, load
from minillm.families.mpt import MPTConfig
from minillm.model import Cancelled
from minillm.sampling import Sampling
from pml import PMLError, PromptCache
from pml.chat import Chat
from pml.conversation import ANSWER

SCHEMA = """<schema name="s">
  <system>Be brief<param name="how" len="4" default=" now"/>.</system>
  <module name="a">Apples are <param name="colour" len="4" default="red"/>.</module>
  <union><module name="b">Bees hum.</module><module name="c">Cows do not.</module></union>
  <module name="empty"/>
</schema>"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(write_checkpoint(tmp_path_factory.mktemp("chat") / "tiny", max_positions=256))


@pytest.fixture
def cache(model: LoadedModel) -> PromptCache:
    cache = PromptCache(model)
    cache.add_schema(SCHEMA)
    return cache


def texts(chat: Chat) -> list[str]:
    """What stands in the chat, by the paths of its plan, in order."""
    spans = sorted((*chat.plan.reused, *chat.plan.fresh), key=lambda span: span.start)
    return [span.path for span in spans]


def test_a_chat_is_one_text_of_turns_and_answers(cache: PromptCache, model: LoadedModel) -> None:
    chat = cache.chat("s")
    first = chat.send("<a/><user>So?</user>", max_tokens=3)
    second = chat.send("<user>And <b/>?</user>", max_tokens=3)
    read = model.tokenizer.decode
    said = [read(answer.tokens) for answer in (first, second)]
    roles = {
        role: (read(markers.open), read(markers.close))
        for role, markers in model.tokenizer.roles.items()
    }
    (system, end), (user, _), (assistant, _) = map(roles.get, ("system", "user", "assistant"))
    assert read(chat.plan.selected()) == (
        f"{system}Be brief now.{end}Apples are red.{user}So?{end}{assistant}{said[0]}{end}"
        f"{user}And Bees hum.?{end}{assistant}{said[1]}"
    )
    assert texts(chat).count(ANSWER) == 3  # an answer, its end, an answer
    assert chat.usage == first.usage + second.usage


def test_a_turn_that_does_not_ask_is_gone_on_with(cache: PromptCache, model: LoadedModel) -> None:
    chat = cache.chat("s")
    first = chat.send("Once upon", max_tokens=2)
    chat.send("a time", max_tokens=1)
    tail = [*first.tokens, *model.tokenizer.encode("a time")]
    assert chat.plan.selected()[-1 - len(tail) : -1] == tail


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ("<user>So?\n  <d/></user>", "<turn 2>:2:3: the schema's root holds no module 'd'"),
        ("one\ntwo &", "<turn 2>:2:5: bare '&'"),
        ("<c/>And?", "<turn 2>:1:1: the prompt imports both 'b' of <turn 1>:1:28 and 'c'"),
        ("</prompt>", "<turn 2>:1:10: a closing tag where no tag is open"),
        ("<empty/>", "<turn 2>:1:1: the turn holds no token"),
        ("", "<turn 2>:1:1: the turn holds no token"),
        ("word " * 300, "<turn 2>:1:1: the prompt reaches position"),
        ('<a colour="of the sky at night"/>', "<turn 2>:1:4: argument 'colour' has"),
        ('<prompt schema="s" how="!">So?</prompt>', "<turn 2>:1:20: arguments of the schema's own"),
        ('<prompt schema="t">So?</prompt>', "<turn 2>:1:1: the prompt asks for schema 't'"),
    ],
)
def test_a_turn_that_is_wrong_leaves_the_chat_as_it_was(
    cache: PromptCache, turn: str, message: str
) -> None:
    chat, other = cache.chat("s"), cache.chat("s")
    for one in (chat, other):
        one.send('<prompt schema="s" how="!"><b/><user>So?</user></prompt>', max_tokens=2)
    before = (chat.plan, chat.usage)
    with pytest.raises(PMLError) as error:
        chat.send(turn)
    assert str(error.value).startswith(message)
    assert (chat.plan, chat.usage) == before
    again = [one.send("<user>Why?</user>", max_tokens=4).tokens for one in (chat, other)]
    assert again[0] == again[1]


def test_a_turn_that_is_broken_off_leaves_the_chat_as_it_was(cache: PromptCache) -> None:
    chat, other = cache.chat("s"), cache.chat("s")
    stale = chat.stream("<a/><user>So?</user>", max_tokens=8)
    next(stale)
    with pytest.raises(Cancelled):
        chat.send("<b/><user>So?</user>", cancelled=lambda: True)
    with pytest.raises(RuntimeError, match="another turn was started"):
        next(stale)
    assert chat.plan.is_empty
    asked = [False] * 3 + [True]
    with pytest.raises(Cancelled):
        chat.send("<b/><user>So?</user>", max_tokens=8, cancelled=lambda: asked.pop(0))
    answers = [one.send("<user>Why?</user>", max_tokens=4) for one in (chat, other)]
    assert answers[0].tokens == answers[1].tokens
    assert chat.plan == other.plan


def test_forks_go_on_by_themselves(cache: PromptCache) -> None:
    chat = cache.chat("s")
    chat.send("<a/><user>So?</user>", max_tokens=3)
    open_turn = chat.stream("<user>Never counted</user>", max_tokens=3)
    next(open_turn)
    fork = chat.fork()
    assert fork.plan == chat.plan
    turns = ["<b/><user>Why?</user>", "<user>And then?</user>"]
    alone = [fork.send(turn, max_tokens=4).tokens for turn in turns]
    chat.send("<c/><user>Something else</user>", max_tokens=4)
    fresh = cache.chat("s")
    fresh.send("<a/><user>So?</user>", max_tokens=3)
    assert [fresh.send(turn, max_tokens=4).tokens for turn in turns] == alone
    assert fork.plan == fresh.plan != chat.plan


def test_a_stop_string_ends_an_answer_and_a_streams_text_is_the_answers(
    cache: PromptCache,
) -> None:
    prompt, turn = '<prompt schema="s"><user>So?</user></prompt>', "<user>So?</user>"
    whole = cache.generate(prompt, max_tokens=24).text
    stop = [whole[5:8], "never written"]
    expected = whole[: whole.index(stop[0])]
    answer = cache.generate(prompt, max_tokens=24, stop=stop)
    assert (answer.text, answer.finish_reason) == (expected, "stop")
    chat = cache.chat("s")
    deltas = list(chat.stream(turn, max_tokens=24, stop=stop))
    assert "".join(delta.text for delta in deltas) == expected
    tokens = [delta.token for delta in deltas if delta.token is not None]
    assert chat.plan.selected()[-len(tokens) :] == tokens
    assert "".join(d.text for d in cache.stream(prompt, max_tokens=24, stop=stop)) == expected


def test_an_answer_ends_where_the_context_does(cache: PromptCache) -> None:
    endless = Sampling(logit_bias=dict.fromkeys(cache.model.tokenizer.stop_ids, -100))
    chat = cache.chat("s")
    chat.send("<a/><user>So?</user>", max_tokens=1)
    answer = chat.send("<user>Go on.</user>", max_tokens=1000, sampling=endless)
    assert answer.finish_reason == "context"
    assert answer.plan.next_position + len(answer.tokens) == chat.plan.next_position == 257
    with pytest.raises(PMLError, match="the model's context ends at 255"):
        chat.send("<user>And?</user>")
    prompt = '<prompt schema="s"><user>Go on.</user></prompt>'
    answer = cache.generate(prompt, max_tokens=1000, sampling=endless)
    assert answer.finish_reason == "context"
    assert answer.plan.next_position + len(answer.tokens) == 257


def test_a_chat_is_packed(model: LoadedModel) -> None:
    cache = PromptCache(model)
    cache.add_schema(SCHEMA)
    assert cache.schemas["s"].positions == "fixed"
    assert cache.chat("s").plan.layout == "packed"
    cache.add_schema(SCHEMA.replace('name="s"', 'name="f" layout="fixed"'))
    fixed = PromptCache(model, layout="fixed")
    fixed.add_schema(SCHEMA)
    for refusing, name in ((cache, "f"), (fixed, "s")):
        with pytest.raises(PMLError, match="has the layout 'fixed', in which nothing can"):
            refusing.chat(name)
    with pytest.raises(PMLError, match="no schema 'x'; expected 's' or 'f'"):
        cache.chat("x")


def test_a_schema_edited_meanwhile_is_for_later_chats(cache: PromptCache) -> None:
    chat = cache.chat("s")
    chat.send("<a/><user>So?</user>", max_tokens=2)
    cache.add_schema(SCHEMA.replace("Apples", "Pears").replace('"b"', '"bees"'))
    chat.send("<a/><b/><user>So?</user>", max_tokens=2)
    read = cache.model.tokenizer.decode
    assert "Apples" in read(chat.plan.selected())
    other = cache.chat("s")
    other.send("<a/><bees/><user>So?</user>", max_tokens=2)
    assert "Pears" in read(other.plan.selected())


def test_states_that_cannot_be_moved_are_refused_before_anything_is_computed(
    model: LoadedModel,
) -> None:
    config = replace(
        model.config,
        family="mpt",
        family_config=MPTConfig(False),
        num_kv_heads=model.config.num_heads,
        position_scheme="learned",
        rotary_dim=0,
    )
    bound = replace(model, config=config, transformer=Transformer(config))
    cache = PromptCache(bound)
    cache.add_schema(SCHEMA)
    assert cache.generate('<prompt schema="s"><b/>So?</prompt>', max_tokens=1).usage.cached_tokens
    with pytest.raises(LoadError, match="cannot be moved, as chats and layout='packed'"):
        cache.chat("s")
    with pytest.raises(LoadError, match="cannot be moved"):
        PromptCache(bound, layout="packed").add_schema(SCHEMA)
