"""The thread-safe front: many callers, errors, and cancelled requests that leave nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
import torch
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from minillm.model import Cancelled
from minillm.sampling import Sampling
from pml import PMLError, PromptCache
from pml.recompute import Recompute
from pml.service import Busy, Service

SCHEMA = """<schema name="s">
  <system>Be brief.
  <module name="a">We go to the <param name="where" len="4" default="sea"/> by train.</module>
  <module name="b">{}</module></system>
</schema>""".format("Rain in the days of the sun. " * 12)
PROMPTS = [
    '<prompt schema="s"><a where="sun"/><user>So?</user></prompt>',
    '<prompt schema="s"><b/><user>When do we go?</user></prompt>',
    '<prompt schema="s"><a/><b/><user>How long is the day?</user></prompt>',
    '<prompt schema="s"><user>Where?</user></prompt>',
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    path = write_checkpoint(tmp_path_factory.mktemp("service") / "tiny", max_positions=1024)
    return load(path, dtype=torch.float64)


@pytest.fixture
def cache(model: LoadedModel) -> PromptCache:
    cache = PromptCache(model)
    cache.add_schema(SCHEMA)
    return cache


@pytest.fixture
def service(cache: PromptCache) -> Iterator[Service]:
    with Service(cache) as service:
        yield service


def test_many_threads_get_the_answers_that_each_would_get_alone(
    cache: PromptCache, model: LoadedModel
) -> None:
    alone = PromptCache(model)
    alone.add_schema(SCHEMA)
    work = [(PROMPTS[n % 4], Sampling(1.0, seed=n), 1 + n % 9) for n in range(60)]
    expected = [alone.generate(p, sampling=s, max_tokens=m).tokens for p, s, m in work]
    with Service(cache, size=5) as service, ThreadPoolExecutor(8) as pool:

        def ask(prompt: str, sampling: Sampling, max_tokens: int) -> tuple[int, ...]:
            handle = service.submit(prompt, sampling=sampling, max_tokens=max_tokens)
            text = "".join(delta.text for delta in handle)
            assert handle.result().text == text
            return handle.result().tokens

        assert list(pool.map(ask, *zip(*work, strict=True))) == expected


def test_an_error_reaches_its_caller_only(service: Service) -> None:
    good = service.submit(PROMPTS[0], max_tokens=5)
    bad = service.submit('<prompt schema="s"><no_such/></prompt>')
    for _ in range(2):
        with pytest.raises(PMLError, match="no_such"):
            list(bad)
    with pytest.raises(PMLError, match="no_such"):
        bad.result()
    with pytest.raises(ValueError, match="max_tokens is 0"):
        service.submit(PROMPTS[0], max_tokens=0).result()
    assert good.result().usage.completion_tokens > 0
    with pytest.raises(ZeroDivisionError):
        service.call(lambda cache: 1 // 0)
    assert service.submit(PROMPTS[1], max_tokens=2).result().tokens


def test_schemas_come_in_between_two_steps(service: Service) -> None:
    answer = service.submit(PROMPTS[1], max_tokens=50)
    service.call(
        lambda cache: cache.add_schema('<schema name="t"><module name="m">M</module></schema>')
    )
    assert service.submit('<prompt schema="t"><m/>!</prompt>', max_tokens=1).result().tokens
    assert answer.result().tokens


def test_only_so_many_may_wait(cache: PromptCache) -> None:
    with Service(cache, size=1, max_waiting=2) as service:
        blocked, go_on = threading.Event(), threading.Event()
        caller = threading.Thread(
            target=service.call, args=(lambda _: (blocked.set(), go_on.wait()),)
        )
        caller.start()
        blocked.wait()
        handles = [service.submit(PROMPTS[3], max_tokens=2) for _ in range(2)]
        with pytest.raises(Busy, match="2 prompts are waiting already"):
            service.submit(PROMPTS[3])
        go_on.set()
        handles.append(service.submit(PROMPTS[3], max_tokens=2, timeout=None))
        assert len({handle.result().tokens for handle in handles}) == 1
        caller.join()


def test_closing_ends_what_is_left(cache: PromptCache) -> None:
    before = threading.active_count()
    service = Service(cache, size=1)
    handles = [service.submit(PROMPTS[0], max_tokens=500) for _ in range(5)]
    next(iter(handles[0]))
    service.close()
    service.close()
    assert threading.active_count() == before
    for handle in handles[1:]:
        with pytest.raises(Cancelled, match="closed"):
            handle.result(timeout=0)
    for call in (lambda: service.submit(PROMPTS[0]), lambda: service.call(lambda _: None)):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_a_cancelled_answer_stops(service: Service) -> None:
    handle = service.submit(PROMPTS[2], max_tokens=900)
    pieces = iter(handle)
    next(pieces)
    handle.cancel()
    with pytest.raises(Cancelled):
        list(pieces)
    with pytest.raises(Cancelled):
        handle.result()
    assert handle.is_over


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_requests_cancelled_at_random_leave_nothing(model: LoadedModel, count: int) -> None:
    """At random moments of planning, encoding, prefill and decoding, from several threads; the
    store is emptied now and then, so that there is something to encode."""
    random, before = Random(0), threading.active_count()
    cache = PromptCache(model, recompute=Recompute(deviating=0.1))
    cache.add_schema(SCHEMA)
    service, outcomes = Service(cache, size=6, max_waiting=8), {"answered": 0, "cancelled": 0}

    def ask(seed: int) -> str:
        mine = Random(seed)
        if mine.random() < 0.1:
            service.call(lambda cache: cache.store.clear())
        prompt, length = mine.choice(PROMPTS), mine.choice((1, 8, 60))
        handle = service.submit(prompt, max_tokens=length, timeout=None)
        if mine.random() < 0.5:
            time.sleep(mine.expovariate(200))
        else:
            for _, _ in zip(range(mine.randrange(20)), handle, strict=False):
                pass
        handle.cancel()
        try:
            handle.result(timeout=60)
        except Cancelled:
            return "cancelled"
        return "answered"

    with ThreadPoolExecutor(4) as pool:
        for outcome in pool.map(ask, [random.randrange(1 << 30) for _ in range(count)]):
            outcomes[outcome] += 1
    batch = service._batch
    assert not batch.requests and not batch.bases and not service._running
    assert len(batch._spare) <= batch.size
    assert all(spare.num_slots == 0 for spare in batch._spare)
    service.close()
    assert threading.active_count() == before
    assert outcomes["cancelled"] > count / 3 and outcomes["answered"] > count / 20, outcomes

    other = PromptCache(model)
    other.add_schema(SCHEMA)
    for prompt in PROMPTS:
        other.encode(other.plan(prompt))
    for key in cache.store:
        segment, expected = cache.store.get(key), other.store.get(key)
        assert segment is not None and expected is not None
        assert torch.equal(segment.block, expected.block)
