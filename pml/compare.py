"""The same prompts answered twice, cached and by full prefill: times, tokens, texts, distance.

A time to first token (TTFT) runs from the prompt's text to the id of the first token. Parsing,
planning and copies are in it on both sides, and encoding on neither: it is done once, before.
Full prefill takes the same tokens at contiguous positions, and keeps a warm buffer as the cached
side does. The two alternate, so that what else the machine does hits both; medians are told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import median

from torch import Tensor

from minillm.answer import Answer
from minillm.checkpoint import LoadedModel
from minillm.generate import decode
from pml.engine import PromptCache
from pml.plan import PromptPlan
from pml.reference import full_prefill, oracle
from pml.schemas import PromptSource, several

EXPLICIT_TOKENS = 1024
"""Up to here the oracle takes the readable attention, whose memory grows with the square."""

Progress = Callable[[str, int, int], None]
"""Told what comes next, how many steps are done, and of how many."""


@dataclass(frozen=True)
class FullRun:
    """Full prefill: `ttft` in seconds, the prompt's tokens, the greedy answer."""

    ttft: float
    tokens: int
    text: str
    answer: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class CachedRun:
    """The same with reuse. For `ttft` the modules are copied anew, `copied_tokens` of them; for
    `kept_ttft` they lie in the buffer already, as when a prompt follows its like."""

    ttft: float
    kept_ttft: float
    cached_tokens: int
    fresh_tokens: int
    copied_tokens: int
    text: str
    answer: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Distance:
    """How far the cached logits of the last prompt token are from the oracle's, and the range
    (largest less smallest) of the oracle's, to judge it by."""

    max_abs_diff: float
    logit_range: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """One prompt both ways. `agreement` counts the leading tokens that the two answers share."""

    plan: PromptPlan
    full: FullRun
    cached: CachedRun
    oracle: Distance
    agreement: int
    cached_logits: Tensor = field(repr=False)
    oracle_logits: Tensor = field(repr=False)

    @property
    def speedup(self) -> float:
        return self.full.ttft / self.cached.ttft

    def as_json(self) -> dict[str, object]:
        """What `pml compare --json` prints."""
        full, cached = self.full, self.cached
        return {
            "full": {
                "ttft_s": full.ttft,
                "tokens": full.tokens,
                "text": full.text,
                "completion_tokens": len(full.answer),
            },
            "cached": {
                "ttft_s": cached.ttft,
                "kept_ttft_s": cached.kept_ttft,
                "cached_tokens": cached.cached_tokens,
                "fresh_tokens": cached.fresh_tokens,
                "copied_tokens": cached.copied_tokens,
                "text": cached.text,
                "completion_tokens": len(cached.answer),
            },
            "speedup": self.speedup,
            "oracle": {
                "max_abs_diff": self.oracle.max_abs_diff,
                "logit_range": self.oracle.logit_range,
            },
            "agreement": self.agreement,
        }


class FullPrefill:
    """Answers without any reuse. Its buffer is its own and stays warm from prompt to prompt: to
    write to fresh memory each time would make it look slower than it is."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._buffer = model.transformer.new_cache()

    def prefill(self, plan: PromptPlan) -> Tensor:
        """Logits (V,) of the last of the prompt's tokens, at contiguous positions from 0."""
        return full_prefill(self.model.transformer, plan, self._buffer)

    def answer(self, plan: PromptPlan, logits: Tensor, max_tokens: int) -> tuple[int, ...]:
        """The greedy answer to `plan`, the one that was prefilled last and gave `logits`."""
        answer = Answer(self.model, self._buffer, len(plan.selected()), max_tokens=max_tokens)
        for _ in decode(self.model.transformer, answer, logits):
            pass
        return tuple(answer.tokens)


def compare(
    cache: PromptCache,
    prompts: Iterable[PromptSource],
    *,
    repeats: int = 5,
    max_tokens: int = 32,
    progress: Progress | None = None,
) -> list[Comparison]:
    """Answer each of `prompts` both ways, `repeats` times; greedy, `max_tokens` long.

    What is not stored is encoded first. Raises `PMLError` for what is wrong with a prompt.
    """
    full = FullPrefill(cache.model)
    subjects = [_Subject(cache, full, prompt, max_tokens) for prompt in several(prompts)]
    steps: list[tuple[str, Callable[[], None]]] = []
    # The oracle's run is the warm-up: as much work as a full prefill, on the same threads.
    steps += [("running the oracle", subject.judge) for subject in subjects]
    for count in range(1, repeats + 1):
        steps += [(f"timing, {count} of {repeats}", subject.measure) for subject in subjects]
    for done, (what, step) in enumerate(steps):
        if progress:
            progress(what, done, len(steps))
        step()
    return [subject.comparison() for subject in subjects]


class _Subject:
    """One prompt, and what has been found out about it so far."""

    def __init__(
        self, cache: PromptCache, full: FullPrefill, prompt: PromptSource, max_tokens: int
    ) -> None:
        self.cache, self.full, self.prompt, self.max_tokens = cache, full, prompt, max_tokens
        self.plan, self.full_plan = cache.plan(prompt), cache.full_plan(prompt)
        self.full_ttft: list[float] = []
        self.cached_ttft: list[float] = []
        self.kept_ttft: list[float] = []
        self.full_answer: tuple[int, ...] = ()
        self.cached_answer: tuple[int, ...] = ()
        self.logits: tuple[Tensor, Tensor] | None = None
        self.copied = 0

    def judge(self) -> None:
        self.cache.forget_buffer()
        prefilled = self.cache.prefill(self.plan)
        explicit = len(self.plan.tokens()) <= EXPLICIT_TOKENS
        truth = oracle(self.cache.model.transformer, self.plan, explicit=explicit)
        self.copied, self.logits = prefilled.copied_tokens, (prefilled.logits, truth)

    def measure(self) -> None:
        """One round: full, cached with everything copied anew, cached as it lies there.

        The first round's answers are kept; later ones would be the same.
        """
        started = time.perf_counter()
        logits = self.full.prefill(self.cache.full_plan(self.prompt))
        int(logits.argmax())
        self.full_ttft.append(time.perf_counter() - started)
        self.cache.forget_buffer()
        self.cached_ttft.append(self.cache.generate(self.prompt, max_tokens=1).timings.ttft)
        is_first = len(self.kept_ttft) == 0
        kept = self.cache.generate(self.prompt, max_tokens=self.max_tokens if is_first else 1)
        self.kept_ttft.append(kept.timings.ttft)
        if is_first:
            self.cached_answer = kept.tokens
            self.full_answer = self.full.answer(self.full_plan, logits, self.max_tokens)

    def comparison(self) -> Comparison:
        assert self.logits is not None
        text, plan = self.cache.model.tokenizer.decode, self.plan
        same = takewhile(
            lambda pair: pair[0] == pair[1],
            zip(self.full_answer, self.cached_answer, strict=False),
        )
        return Comparison(
            plan,
            FullRun(
                median(self.full_ttft),
                len(self.full_plan.selected()),
                text(self.full_answer),
                self.full_answer,
            ),
            CachedRun(
                median(self.cached_ttft),
                median(self.kept_ttft),
                plan.num_cached,
                plan.num_fresh,
                self.copied,
                text(self.cached_answer),
                self.cached_answer,
            ),
            distance(*self.logits),
            len(list(same)),
            *self.logits,
        )


def distance(cached: Tensor, oracle: Tensor) -> Distance:
    """Between two logits (V,), in float64."""
    cached, oracle = cached.double().cpu(), oracle.double().cpu()
    return Distance(float((cached - oracle).abs().max()), float(oracle.max() - oracle.min()))
