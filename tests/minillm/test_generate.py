"""Prefill and decode: chunks, finish reasons, and the plain way from a prompt to its answer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
import torch
from strategies import KINDS, ModelShape, hot, loaded

import minillm.generate
from minillm.answer import Answer, Delta
from minillm.checkpoint import LoadedModel
from minillm.generate import decode, generate, prefill, stream
from minillm.model import Cancelled, ForwardPlan, Run, Transformer
from minillm.sampling import Sampling
from minillm.tokenizer import ByteTokenizer

TOKENS = list(b"Where does the night train go?")
NOTHING: frozenset[int] = frozenset()


def model(max_positions: int = 256, kind: str = "llama") -> Transformer:
    config = ModelShape(2, 2, 2, 4, True, False, kind, 0).config(max_positions)
    return hot(Transformer(config).double(), 0)


def answering(**options: bool) -> LoadedModel:
    return loaded(model(), ByteTokenizer(**options))


def steps(
    transformer: Transformer,
    max_tokens: int,
    stop_ids: frozenset[int] = NOTHING,
    sampling: Sampling | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Delta]:
    cache = transformer.new_cache()
    logits = prefill(transformer, cache, TOKENS, range(len(TOKENS)))
    answer = Answer(
        loaded(transformer, ByteTokenizer()),
        cache,
        len(TOKENS),
        max_tokens=max_tokens,
        sampling=sampling,
        stop_ids=stop_ids,
    )
    return list(decode(transformer, answer, logits, cancelled=cancelled))


@pytest.mark.parametrize("size", [1, 7, 29, 30, 31])
def test_prefill_in_chunks_is_prefill_at_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = model()
    expected = prefill(transformer, transformer.new_cache(), TOKENS, range(len(TOKENS)))
    done: list[int] = []
    cache = transformer.new_cache()
    monkeypatch.setattr(minillm.generate, "CHUNK", size)
    logits = prefill(transformer, cache, TOKENS, range(len(TOKENS)), done.append)
    assert torch.allclose(logits, expected, rtol=0, atol=1e-11)
    assert sum(done) == len(TOKENS)
    assert max(done) <= size
    assert cache.positions.tolist() == list(range(len(TOKENS)))


class After:
    """True from the n-th time on that it is asked."""

    def __init__(self, n: int) -> None:
        self.n, self.asked = n, count(1)

    def __call__(self) -> bool:
        return next(self.asked) >= self.n


@pytest.mark.parametrize("when", range(1, 7))
def test_a_cancelled_prefill_leaves_the_cache_as_it_was(
    when: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed at each layer of each chunk."""
    monkeypatch.setattr(minillm.generate, "CHUNK", 10)
    transformer = model()
    cache, base = transformer.new_cache(), transformer.new_cache()
    prefill(transformer, cache, [1, 2, 3], range(3))
    held = cache.segment(0, 3).block
    at = range(3, 3 + len(TOKENS))
    done: list[int] = []
    with pytest.raises(Cancelled):
        prefill(transformer, cache, TOKENS, at, done.append, base=base, cancelled=After(when))
    assert (cache.num_slots, len(done)) == (3, (when - 1) // len(transformer.blocks))
    assert torch.equal(cache.segment(0, 3).block, held)
    again = prefill(transformer, cache, TOKENS, at)
    whole = prefill(transformer, transformer.new_cache(), [1, 2, 3, *TOKENS], range(at.stop))
    assert torch.allclose(again, whole, rtol=0, atol=1e-11)


def test_a_cancelled_answer_leaves_the_cache_as_it_was() -> None:
    transformer, given = model(), []
    cache = transformer.new_cache()
    logits = prefill(transformer, cache, TOKENS, range(len(TOKENS)))
    answer = Answer(loaded(transformer, ByteTokenizer()), cache, len(TOKENS), max_tokens=9)
    with pytest.raises(Cancelled):
        given.extend(decode(transformer, answer, logits, cancelled=After(4)))
    assert len(answer.tokens) == 4
    assert cache.num_slots == len(TOKENS)


def test_an_interrupted_forward_leaves_the_caches_as_they_were() -> None:
    transformer = model()
    caches = [transformer.new_cache() for _ in range(2)]
    prefill(transformer, caches[0], TOKENS, range(len(TOKENS)))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handle = transformer.blocks[1].register_forward_pre_hook(interrupt)
    runs = [Run(caches[0], 1, base=caches[1]), Run(transformer.new_cache(), 2)]
    with pytest.raises(KeyboardInterrupt):
        transformer(torch.tensor([1, 2, 3]), torch.tensor([99, 0, 1]), ForwardPlan(runs, [0]))
    handle.remove()
    assert [run.cache.num_slots for run in runs] == [len(TOKENS), 0]


def test_prefill_of_nothing_is_refused() -> None:
    transformer = model()
    with pytest.raises(ValueError, match="there is no token to compute"):
        prefill(transformer, transformer.new_cache(), [], [])


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_is_computing_everything_again_for_each_token(kind: str) -> None:
    transformer, known = model(kind=kind), list(TOKENS)
    for step in steps(transformer, 8)[:-1]:
        again = prefill(transformer, transformer.new_cache(), known, range(len(known)))
        assert step.token == int(again.argmax())
        known.append(step.token)


def test_no_tokens_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 0, expected at least 1"):
        steps(model(), 0)


def test_it_ends_when_enough_tokens_are_there() -> None:
    found = steps(model(), 3)
    assert [step.finish_reason for step in found] == [None, None, None, "length"]
    assert found[-1].token is None


def test_it_ends_when_the_model_says_so() -> None:
    """The token that says so is no part of the answer, and nothing is computed after it."""
    tokens = [step.token for step in steps(model(), 12)][:-1]
    stop = next(token for token in tokens if token != tokens[0])
    assert stop is not None
    found = steps(model(), 12, frozenset({stop}))
    assert [step.token for step in found] == [*tokens[: tokens.index(stop)], None]
    assert found[-1].finish_reason == "stop"
    assert steps(model(), 12, frozenset({stop, tokens[0] or 0})) == [Delta("", None, "stop")]


def test_it_ends_when_the_context_is_full() -> None:
    """Two more positions are there, and the token drawn after them needs none of its own."""
    found = steps(model(len(TOKENS) + 2), 8)
    assert [step.finish_reason for step in found] == [None, None, None, "context"]
    found = steps(model(len(TOKENS) + 2), 3)
    assert [step.finish_reason for step in found] == [None, None, None, "length"]


def test_a_seed_reproduces_an_answer() -> None:
    def drawn(seed: int) -> list[Delta]:
        return steps(model(), 12, sampling=Sampling(temperature=2.0, top_k=50, seed=seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("roles", [False, True])
def test_a_prompt_becomes_a_turn_where_the_model_has_turns(
    bos: bool, roles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def recorded(transformer: Transformer, cache: object, tokens: list[int], at: range) -> None:
        assert list(at) == list(range(len(tokens)))
        seen.append(tokens)
        raise KeyboardInterrupt

    monkeypatch.setattr(minillm.generate, "prefill", recorded)
    for chat in (True, False):
        with pytest.raises(KeyboardInterrupt):
            generate(answering(bos=bos, roles=roles), "Hi", chat=chat)
    turn = [259, *b"user\n", *b"Hi", 260, *b"\n", 259, *b"assistant\n"]
    start = [256] if bos else []
    assert seen == [[*start, *(turn if roles else b"Hi")], [*start, *b"Hi"]]


def test_the_pieces_of_an_answer_are_the_answer() -> None:
    sampling = Sampling(temperature=3.0, seed=5)
    pieces = list(stream(answering(), "Hi", max_tokens=20, sampling=sampling))
    assert len(pieces) > 2
    text = "".join(piece.text for piece in pieces)
    assert text == generate(answering(), "Hi", max_tokens=20, sampling=sampling)


def test_prompts_that_cannot_be_answered_are_refused() -> None:
    with pytest.raises(ValueError, match="the prompt is empty"):
        generate(answering(), "")
    short = loaded(model(10), ByteTokenizer(bos=True))
    with pytest.raises(ValueError, match="the prompt has 11 tokens, the model's context is 10"):
        generate(short, "0123456789", chat=False)
    assert isinstance(generate(short, "012345678", chat=False, max_tokens=2), str)


def test_a_cache_is_written_to_by_one_run_and_read_by_no_other() -> None:
    transformer, one, two = model(), *(model().new_cache() for _ in range(2))
    for runs in ([Run(one, 1), Run(one, 1)], [Run(one, 1), Run(two, 1, base=one)]):
        with pytest.raises(ValueError, match="a forward appends to a cache that another"):
            transformer(torch.tensor([1, 2]), torch.arange(2), ForwardPlan(runs, [0]))
    assert one.num_slots == two.num_slots == 0


def test_runs_must_hold_the_tokens_of_the_forward() -> None:
    transformer = model()
    forward = ForwardPlan([Run(transformer.new_cache(), 2)], [0])
    with pytest.raises(ValueError, match="the runs hold 2 tokens, the forward 3"):
        transformer(torch.tensor([1, 2, 3]), torch.arange(3), forward)
