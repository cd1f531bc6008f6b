"""An answer's ends and text, and many answers that grow together."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import ModelShape, hot_model, loaded
from torch import Tensor

from minillm.answer import Answer, Delta, StopStrings
from minillm.checkpoint import LoadedModel
from minillm.generate import advance, decode, prefill
from minillm.kv import KVCache
from minillm.sampling import Sampling
from minillm.tokenizer import ByteTokenizer

WORDS = st.text("abA ", max_size=12)


def model(kind: str = "llama") -> LoadedModel:
    return loaded(hot_model(ModelShape(2, 2, 2, 4, True, False, kind, 0)), ByteTokenizer())


def forced(id: int) -> Tensor:
    """Logits that leave no choice."""
    return torch.nn.functional.one_hot(torch.tensor(id), 261).double()


def said(data: bytes, *stop: str, max_tokens: int = 99) -> tuple[list[str], str | None, int]:
    """The pieces of an answer that is made to say `data`, how it ends, and its tokens."""
    cache = KVCache(model().config, torch.float64)
    answer, deltas = Answer(model(), cache, 0, max_tokens=max_tokens, stop=stop), list[Delta]()
    for byte in data:
        deltas += answer.take(forced(byte))
        if answer.finish_reason:
            break
    assert [delta.token for delta in deltas if delta.token is not None] == answer.tokens
    return [delta.text for delta in deltas], answer.finish_reason, len(answer.tokens)


def test_a_stop_string_and_all_after_it_are_not_given_out() -> None:
    assert said(b"one END two", "END") == (["o", "n", "e", " ", "", "", "", ""], "stop", 7)
    assert said(b"E EN ENE", "END", max_tokens=8) == (
        ["", "E ", "", "", "EN ", "", "", "EN", "E"],
        "length",
        8,
    )


def test_what_was_held_back_is_given_out_at_the_end() -> None:
    pieces, reason, _ = said(b"no E", "END", max_tokens=4)
    assert ("".join(pieces), reason) == ("no E", "length")
    answer = Answer(model(), KVCache(model().config), 0, max_tokens=9, stop=["END"])
    assert answer.take(forced(ord("E"))) == [Delta("", ord("E"))]
    assert answer.take(forced(257)) == [Delta("E", None, "stop")]


def test_characters_are_never_cut_and_may_be_part_of_a_stop_string() -> None:
    assert said("aé".encode(), max_tokens=2) == (
        ["a", "", "\N{REPLACEMENT CHARACTER}"],
        "length",
        2,
    )
    assert said("aéb".encode(), "éb") == (["a", "", "", "", ""], "stop", 4)


@given(WORDS, st.lists(st.text("abA ", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_do_not_depend_on_where_a_text_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    """Equal to looking through the whole text for the stop string that ends first."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    edges = [0, *cuts, len(text)]
    found = StopStrings(stops)
    pieces = [found.add(text[a:b]) for a, b in itertools.pairwise(edges)]
    ends = [
        (end, start)
        for end in range(len(text) + 1)
        for start in range(end)
        if text[start:end] in stops
    ]
    assert found.found == bool(ends)
    assert "".join([*pieces, found.finish()]) == (text[: min(ends)[1]] if ends else text)


def test_one_stop_string_alone_is_not_its_letters() -> None:
    text = StopStrings("END")
    assert [text.add(piece) for piece in ("Never: ", "EN", "D of it")] == ["Never: ", "", ""]
    assert text.found


def test_options_that_no_answer_can_have_are_refused() -> None:
    cache = KVCache(model().config)
    with pytest.raises(ValueError, match="a stop string is empty"):
        Answer(model(), cache, 0, max_tokens=1, stop=["x", ""])
    with pytest.raises(ValueError, match="logit_bias names token 261, the model has 261"):
        Answer(model(), cache, 0, max_tokens=1, sampling=Sampling(logit_bias={261: 1.0}))
    with pytest.raises(ValueError, match="max_tokens is 0"):
        Answer(model(), cache, 0, max_tokens=0)


@pytest.mark.parametrize("kind", ["llama", "mpt"])
def test_answers_join_and_leave_and_are_as_if_alone(kind: str) -> None:
    """Each with its own sampling, length, ends and base; joined at different steps."""
    subject = model(kind)
    transformer = subject.transformer
    bases = [None, *(transformer.new_cache() for _ in range(2))]
    for base, start in zip(bases[1:], (0, 5), strict=True):
        assert base is not None
        prefill(transformer, base, list(b"a shared text"), range(start, start + 13))
    prompts = [b"one", b"two two", b"three", b"four", b"five 5 five"]

    def asked(index: int) -> tuple[Answer, Tensor]:
        base, text = bases[index % 3], list(prompts[index])
        cache, at = transformer.new_cache(), 20 + index
        logits = prefill(transformer, cache, text, range(at, at + len(text)), base=base)
        answer = Answer(
            subject,
            cache,
            at + len(text),
            max_tokens=3 + 2 * index,
            sampling=Sampling(temperature=2.0, seed=index, repetition_penalty=1.1),
            base=base,
            prompt=text,
            stop=["e"],
        )
        return answer, logits

    alone, together = [], []
    for index in range(len(prompts)):
        answer, logits = asked(index)
        alone.append((list(decode(transformer, answer, logits)), answer.tokens))
    joining = [asked(index) for index in range(len(prompts))]
    open_answers: list[tuple[Answer, list[Delta]]] = []
    while joining or open_answers:
        if joining:
            answer, logits = joining.pop(0)
            deltas = answer.take(logits)
            together.append((deltas, answer.tokens))
            open_answers.append((answer, deltas))
        open_answers = [pair for pair in open_answers if pair[0].finish_reason is None]
        if open_answers:
            step = advance(transformer, [answer for answer, _ in open_answers])
            for (answer, deltas), logits in zip(open_answers, step, strict=True):
                deltas += answer.take(logits)
    assert together == alone
    assert {deltas[-1].finish_reason for deltas, _ in alone} >= {"length"}
