"""Batches: who shares a base, what a prompt that fails does to the others, what is left behind."""

from __future__ import annotations

import pytest
import torch
from tiny_model import write_checkpoint

import pml.encoder
from minillm import LoadedModel, load
from minillm.kv import KVSegment, Placed
from minillm.model import Cancelled, ForwardPlan, Transformer
from minillm.sampling import Sampling
from pml import PMLError, PromptCache
from pml.bases import Held, shared
from pml.batch import Batch
from pml.errors import PMLPromptError, PMLSyntaxError

SCHEMA = f"""<schema name="s">
  <system>Be brief.
  <module name="long">{"we go to the sea when the sun is out. " * 8}</module>
  <module name="other">{"rain in the days of the train. " * 8}</module>
  <module name="short">How long?</module></system>
</schema>"""
LONG = '<prompt schema="s"><long/><user>So?</user></prompt>'
LONG_TOO = '<prompt schema="s"><long/><user>And where do we go?</user></prompt>'
OTHER = '<prompt schema="s"><other/><user>When?</user></prompt>'
SHORT = '<prompt schema="s"><short/><user>When?</user></prompt>'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    path = write_checkpoint(tmp_path_factory.mktemp("batch") / "tiny", max_positions=2048)
    return load(path, dtype=torch.float64)


@pytest.fixture
def cache(model: LoadedModel) -> PromptCache:
    cache = PromptCache(model)
    cache.add_schema(SCHEMA)
    return cache


def test_answers_are_those_of_the_prompts_alone(cache: PromptCache) -> None:
    prompts = [LONG, OTHER, LONG_TOO, SHORT]
    draws = [None, Sampling(1.0, seed=1), Sampling(1.0, seed=2), Sampling(0.5, top_k=5, seed=1)]
    together = cache.batch(prompts, max_tokens=12, sampling=draws, stop=("zz",))
    for prompt, draw, answer in zip(prompts, draws, together, strict=True):
        alone = cache.generate(prompt, max_tokens=12, sampling=draw, stop=("zz",))
        assert (answer.tokens, answer.text) == (alone.tokens, alone.text)
        assert answer.finish_reason == alone.finish_reason
        assert answer.timings.ttft > 0
    assert [a.usage.encoded_tokens > 0 for a in together] == [True, True, False, True]


def test_what_prompts_share_is_held_once(cache: PromptCache) -> None:
    batch = Batch(cache)
    first, second, other = (batch.add(prompt) for prompt in (LONG, LONG_TOO, OTHER))
    assert batch.prepare() == []
    batch.step()
    assert first.answer and second.answer and other.answer
    assert first.answer.base is second.answer.base is not other.answer.base
    held = sum(base.cache.num_slots for base in batch.bases.values())
    assert held == first.plan.num_cached + other.plan.num_cached

    later = batch.add(LONG)  # joins a base that is there
    batch.step()
    assert later.answer and later.answer.base is first.answer.base
    for request in (first, second):
        batch.remove(request)
    assert len(batch.bases) == 2
    batch.remove(later)
    batch.remove(other)
    batch.remove(other)
    assert not batch.bases and not batch.requests


def test_a_chunk_of_many_prompts_is_one_forward(cache: PromptCache) -> None:
    forwards: list[int] = []
    with cache.model.transformer.register_forward_hook(lambda _, x, y: forwards.append(len(x[0]))):
        answers = cache.batch([LONG, LONG_TOO, OTHER, SHORT], max_tokens=3)
        fresh = sum(answer.usage.fresh_tokens for answer in answers)
        assert forwards[-3:] == [fresh, 4, 4]


def test_a_prompt_that_fails_leaves_the_others_alone(cache: PromptCache) -> None:
    expected = cache.generate(LONG, max_tokens=4).text
    batch = Batch(cache)
    good = batch.add(LONG, max_tokens=4)
    bad = [
        batch.add('<prompt schema="s"><no_such/></prompt>'),
        batch.add("<prompt"),
        batch.add(LONG, sampling=Sampling(logit_bias={10**6: 1.0})),
    ]
    errors = {}
    while batch.requests:
        for request, event in batch.step():
            if isinstance(event, Exception):
                errors[request] = event
    assert [type(errors[request]) for request in bad] == [
        PMLPromptError,
        PMLSyntaxError,
        ValueError,
    ]
    assert [request.error for request in bad] == list(errors.values())
    assert good.completion().text == expected
    assert not batch.bases
    with pytest.raises(PMLError, match="no_such"):
        cache.batch([LONG, '<prompt schema="s"><no_such/></prompt>'])
    with pytest.raises(ValueError, match="the size of a batch is 0"):
        cache.batch([SHORT], size=0)
    with pytest.raises(ValueError, match="1 samplings for 2 prompts"):
        cache.batch([SHORT, LONG], sampling=[None])
    with pytest.raises(ValueError, match="max_tokens is 0"):
        batch.add(LONG, max_tokens=0)


def test_whoever_breaks_a_forward_is_found(
    cache: PromptCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out for one prompt: the forward of all fails, and is done again one by one."""
    expected, real = cache.generate(LONG, max_tokens=4).text, Transformer._logits
    batch = Batch(cache)
    good, bad = batch.add(LONG, max_tokens=4), batch.add(OTHER, max_tokens=4)
    while bad.answer is None:
        batch.step()
    cache_of_bad = bad.answer.cache

    def out_of_memory(
        self: Transformer, tokens: torch.Tensor, positions: torch.Tensor, plan: ForwardPlan
    ) -> torch.Tensor:
        logits = real(self, tokens, positions, plan)
        if any(run.cache is cache_of_bad for run in plan.runs):
            raise MemoryError("no room")
        return logits

    monkeypatch.setattr(Transformer, "_logits", out_of_memory)
    events = [event for _ in range(5) for event in batch.step()]
    assert [event for request, event in events if request is bad] == [bad.error]
    assert isinstance(bad.error, MemoryError)
    assert good.completion().text == expected


@pytest.mark.parametrize("together", [1, 512])
def test_encoding_is_cancelled_between_forwards(
    cache: PromptCache, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(pml.encoder, "TOGETHER", together)
    monkeypatch.setattr(pml.encoder, "CHUNK", 16)
    told: list[int] = []
    with pytest.raises(Cancelled):
        cache.encode_schema("s", lambda _, n: told.append(n), cancelled=lambda: len(told) > 3)
    assert 3 < len(told) < 8
    kept = {cache.key_of(state): state for state in cache.schemas["s"].usable}
    for key in cache.store:
        segment = cache.store.get(key)
        assert segment is not None and segment.num_tokens == len(kept[key].tokens)
    with pytest.raises(Cancelled):
        cache.encode(cache.plan(OTHER), cancelled=lambda: True)
    cache.encode_schema("s")
    assert kept.keys() == {*cache.store}


def _placed(*sizes: int) -> list[Placed]:
    return [
        Placed(KVSegment(torch.zeros(1, 2, 1, size, 1), torch.arange(size), 0), 0, 0, size)
        for size in sizes
    ]


def test_which_bases_newcomers_get() -> None:
    system, manual, letter, note = _placed(100, 900, 1000, 10)
    a, b, c = Held({system, manual}), Held({system, manual, note}), Held({system, letter})
    assert shared([a, b, c], []) == [a, a, c]  # the system's text alone would serve c badly
    assert shared([Held({system, note})] * 2, [a]) == [Held({system, note})] * 2
    assert shared([b], [a]) == [a]
    assert shared([b, b, b], [Held({system})]) == [b, b, b]
    assert shared([Held({note}), Held(), c], [a, c]) == [Held(), Held(), c]
