"""Law 12 for whole prompts: batches of the engine. Runs over a base: `test_laws_runtime.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import pytest
from checks import assert_same
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases, fitted, lookalike, prompts, recomputes, texts
from torch import Tensor

import pml.bases
import pml.batch
from minillm.answer import Answer, Delta
from minillm.sampling import Sampling
from pml.bases import tokens_of
from pml.batch import Batch
from pml.engine import PromptCache
from pml.nodes import Prompt, PromptText
from pml.plan import PromptPlan
from pml.request import Request
from pml.writer import write_schema

Logits = dict[Answer, list[Tensor]]


@contextmanager
def drawn_from() -> Iterator[Logits]:
    """The logits that each answer draws its tokens from."""
    found, take = defaultdict(list), Answer.take

    def recorded(answer: Answer, logits: Tensor) -> list[Delta]:
        found[answer].append(logits)
        return take(answer, logits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answer, "take", recorded)
        yield found


@st.composite
def several(draw: st.DrawFn) -> tuple[PromptCache, list[PromptPlan]]:
    """Prompts of two schemas that look much the same and of one that shares nothing, some of them
    with much in common, with recomputed tokens, or learned from; in a context that may end soon
    behind the longest."""
    case: Case = draw(cases())
    cache, random = case.cache, draw(st.randoms(use_true_random=True))
    other = replace(lookalike(case.schema, random), name="t")
    cache.add_schema(write_schema(other))
    cache.add_schema('<schema name="apart">~</schema>')
    if draw(st.booleans()):
        cache.learn(case.plan)
    plans = [cache.plan(case.prompt)]
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(("again", "longer", "other schema", "unlike", "apart")))
        prompt = case.prompt
        if kind == "longer":
            prompt = replace(prompt, children=(*prompt.children, PromptText(draw(texts(20)))))
        elif kind == "other schema":
            prompt = replace(prompt, schema="t")
        elif kind == "apart":
            prompt = Prompt("apart", children=(PromptText(draw(texts(20))),))
        elif kind == "unlike":
            prompt = draw(prompts(case.schema, case.layout == "packed"))
        prompt, plan = fitted(cache.plan, prompt)
        recompute = draw(st.none() | recomputes())
        plans.append(cache.plan(prompt, recompute=recompute) if recompute else plan)
    if draw(st.booleans()):
        end = max(plan.next_position for plan in plans) + draw(st.integers(0, 3))
        config = replace(cache.model.config, max_positions=end)
        cache.model = replace(cache.model, config=config)
    return cache, draw(st.permutations(plans))


@given(st.data(), several(), st.integers(0, 1 << 32).map(Random))
def test_law_12_a_batch_is_its_prompts_one_by_one(
    data: st.DataObject, given: tuple[PromptCache, list[PromptPlan]], random: Random
) -> None:
    """Law 12: "a batch = its prompts one by one, to rounding; a shared module is stored once"

    Prompts of two schemas join at random steps and some leave early; each has its own sampling and
    length; chunks and bases are small, so that all cases occur. Logits and tokens beside those of
    each prompt alone. Catches a base that is seen by whom it is none of, or lacks a segment; a
    prompt that goes on at another's position; the old version of a recomputed token in a base; an
    answer that outgrows the context in one way only; draws that mix; and a base that outlives its
    prompts.
    """
    cache, plans = given
    options = [
        {
            "max_tokens": data.draw(st.integers(1, 6)),
            "sampling": data.draw(st.sampled_from((None, Sampling(1.0, seed=3)))),
            "stop": data.draw(st.sampled_from(((), ("e", "xy")))),
        }
        for _ in plans
    ]
    with drawn_from() as alone:
        expected = [cache.generate(p, **o) for p, o in zip(plans, options, strict=True)]
    cold = data.draw(st.integers(0, 3)) == 0
    if cold:
        cache.store.clear()
    with pytest.MonkeyPatch.context() as patch, drawn_from() as together:
        patch.setattr(pml.bases, "SHARED", data.draw(st.sampled_from((1, 4, 24))))
        patch.setattr(pml.batch, "CHUNK", data.draw(st.sampled_from((2, 256, 256))))
        patch.setattr(pml.batch, "TOGETHER", data.draw(st.sampled_from((8, 512, 512))))
        batch = Batch(cache, size=data.draw(st.sampled_from((2, 16, 16))))
        requests = _run(batch, [*zip(plans, options, strict=True)], random)
    for completion, request, logits in zip(expected, requests, alone.values(), strict=True):
        assert request.answer is not None
        found = together[request.answer]
        for step, row in enumerate(found):
            assert_same(row, logits[step])
        assert completion.tokens[: len(request.answer.tokens)] == tuple(request.answer.tokens)
        if request.answer.finish_reason is not None:
            mine = request.completion()
            assert (mine.text, mine.tokens) == (completion.text, completion.tokens)
            assert mine.finish_reason == completion.finish_reason
            assert mine.usage.cached_tokens == completion.usage.cached_tokens
    assert not batch.requests and not batch.bases


def _run(
    batch: Batch, prompts: list[tuple[PromptPlan, dict[str, object]]], random: Random
) -> list[Request]:
    """Have them answered; they join at random steps, and some leave once they have begun."""
    requests: list[Request] = []
    while len(requests) < len(prompts) or batch.requests:
        while len(requests) < len(prompts) and (not batch.requests or random.random() < 0.8):
            plan, options = prompts[len(requests)]
            requests.append(batch.add(plan, **options))
        for _, event in batch.step():
            assert isinstance(event, Delta), event
        _check_bases(batch)
        for request in batch.requests:
            if request.answer and request.answer.tokens and random.random() < 0.1:
                batch.remove(request)
    return requests


def _check_bases(batch: Batch) -> None:
    """A base holds what it says, once; with it and its own cache a request holds its prompt."""
    for held, base in batch.bases.items():
        assert tokens_of(held) == base.cache.num_slots >= pml.bases.SHARED
    for request in batch.requests:
        if request.answer is not None:
            base, cache = request.answer.base, request.answer.cache
            slots = cache.num_slots + (base.num_slots if base else 0)
            answered = max(0, len(request.answer.tokens) - 1)
            assert slots == request.plan.num_cached + request.num_prefilled + answered
