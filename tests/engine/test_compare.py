"""Cached against full prefill, and what encoding is expected to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import write_checkpoint

from minillm.checkpoint import LoadedModel, load
from pml.compare import FullPrefill, compare, distance
from pml.engine import PromptCache
from pml.errors import PMLError
from pml.estimate import estimate, speed
from pml.reference import full_prefill

SCHEMA = """<schema name="trip">You plan travel.
<module name="when">We go in <param name="month" len="6"/>, by train.</module>
<module name="rome">To Rome: the old streets, the food.</module>
<module name="goa">To Goa: the sea and the sun.</module></schema>"""
PROMPTS = [
    '<prompt schema="trip"><when month="June"/><rome/>Where do we go when it rains?</prompt>',
    '<prompt schema="trip"><goa/>How long?</prompt>',
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny")
    return load(folder, dtype=torch.float64)


@pytest.fixture
def cache(model: LoadedModel) -> PromptCache:
    cache = PromptCache(model)
    cache.add_schema(SCHEMA)
    return cache


def test_each_prompt_is_answered_both_ways(cache: PromptCache) -> None:
    found = compare(cache, PROMPTS, repeats=3, max_tokens=9)
    for prompt, result in zip(PROMPTS, found, strict=True):
        full, cached = result.full, result.cached
        answer = cache.generate(prompt, max_tokens=9)
        assert (cached.text, cached.answer) == (answer.text, answer.tokens)
        assert cached.cached_tokens == cached.copied_tokens == answer.usage.cached_tokens
        assert cached.fresh_tokens == answer.usage.fresh_tokens
        assert full.tokens == answer.usage.prompt_tokens
        first = int(full_prefill(cache.model.transformer, cache.plan(prompt)).argmax())
        assert full.answer[:1] == ((first,) if first not in cache.model.tokenizer.stop_ids else ())
        assert full.text == cache.model.tokenizer.decode(full.answer)
        assert full.answer[: result.agreement] == cached.answer[: result.agreement]
        assert full.answer[result.agreement :][:1] != cached.answer[result.agreement :][:1] or (
            full.answer == cached.answer
        )
        assert min(full.ttft, cached.ttft, cached.kept_ttft) > 0
        assert result.speedup == full.ttft / cached.ttft


def test_the_distance_is_to_the_oracle_and_not_to_full_prefill(cache: PromptCache) -> None:
    (result,) = compare(cache, PROMPTS[:1], repeats=1, max_tokens=1)
    assert result.oracle == distance(result.cached_logits, result.oracle_logits)
    assert result.oracle.max_abs_diff < 1e-9 * result.oracle.logit_range
    to_full = distance(
        result.cached_logits, full_prefill(cache.model.transformer, cache.plan(PROMPTS[0]))
    )
    assert to_full.max_abs_diff > 1e-3 * to_full.logit_range


def test_full_prefill_gives_the_same_logits_from_its_warm_buffer(cache: PromptCache) -> None:
    full = FullPrefill(cache.model)
    for prompt in (*PROMPTS, *PROMPTS):  # long, short, long, short: nothing is left behind
        assert torch.equal(
            full.prefill(cache.plan(prompt)),
            full_prefill(cache.model.transformer, cache.plan(prompt)),
        )


def test_the_modules_are_copied_anew_and_both_sides_alternate(
    cache: PromptCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for owner, name, word in (
        (PromptCache, "forget_buffer", "forget"),
        (PromptCache, "generate", "cached"),
        (FullPrefill, "prefill", "full"),
    ):
        plain = getattr(owner, name)

        def telling(*arguments: Any, plain: Any = plain, word: str = word, **rest: Any) -> Any:
            said.append(word)
            return plain(*arguments, **rest)

        monkeypatch.setattr(owner, name, telling)
    compare(cache, PROMPTS, repeats=2, max_tokens=1)
    assert said[-16:] == ["full", "forget", "cached", "cached"] * 4


def test_progress_counts_every_step(cache: PromptCache) -> None:
    told: list[tuple[str, int, int]] = []
    compare(cache, PROMPTS, repeats=2, max_tokens=1, progress=lambda *step: told.append(step))
    assert [done for _, done, _ in told] == list(range(6))
    assert {total for *_, total in told} == {6}
    assert [what for what, *_ in told][-4:] == ["timing, 1 of 2"] * 2 + ["timing, 2 of 2"] * 2


def test_a_wrong_prompt_is_refused_before_anything_is_timed(cache: PromptCache) -> None:
    with pytest.raises(PMLError, match="paris"):
        compare(cache, [PROMPTS[0], '<prompt schema="trip"><paris/></prompt>'])
    assert cache.store.num_bytes == 0


def test_what_encoding_takes_is_told_exactly_but_for_the_time(cache: PromptCache) -> None:
    plan = cache.plan(PROMPTS[0])
    expected = estimate(cache, plan)
    assert expected.states == len(plan.states)
    assert expected.tokens == sum(len(state.tokens) for state in plan.states)
    assert expected.seconds > 0
    cache.prefill(plan)
    assert expected.kv_bytes == cache.store.num_bytes
    left = estimate(cache, plan)
    assert (left.states, left.tokens, left.kv_bytes, left.seconds) == (0, 0, 0, 0)


def test_a_speed_is_measured_within_a_small_context(tmp_path: Path) -> None:
    small = load(write_checkpoint(tmp_path / "small", max_positions=8))
    assert speed(small.transformer, 10_000) > 0
