"""A prompt on its way through a batch: prepared, prefilled, answered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from minillm.answer import Answer, Delta, StopStrings, check_max_tokens
from minillm.sampling import Sampling
from pml.completion import Completion, Timings, Usage
from pml.library import Prepared
from pml.plan import PromptPlan
from pml.steps import Steps


class Request:
    """A prompt in a batch and how far it has come. `error` says why it failed, if it did."""

    def __init__(
        self,
        steps: Steps[Prepared],
        max_tokens: int,
        sampling: Sampling | None,
        stop: Sequence[str],
    ) -> None:
        check_max_tokens(max_tokens)
        StopStrings(stop)
        self.steps = steps
        self.max_tokens, self.sampling, self.stop = max_tokens, sampling, stop
        self.is_encoding = False
        self.prepared: Prepared | None = None
        self.answer: Answer | None = None
        self.num_prefilled = 0
        self.deltas: list[Delta] = []
        self.times = [time.perf_counter()]
        self.error: Exception | None = None

    @property
    def left(self) -> int:
        """How many of its fresh tokens are still to be computed."""
        return self.plan.num_fresh - self.num_prefilled

    @property
    def plan(self) -> PromptPlan:
        assert self.prepared is not None
        return self.prepared.plan

    def take(self, logits: Tensor) -> Iterator[Delta]:
        """The next token and what text it gives."""
        assert self.answer is not None
        for delta in self.answer.take(logits):
            self.deltas.append(delta)
            self.times.append(time.perf_counter())
            yield delta

    def completion(self) -> Completion:
        """The whole answer, once the last of its deltas is out."""
        assert self.prepared is not None and self.answer is not None
        assert self.answer.finish_reason is not None
        plan, encoding = self.prepared.plan, self.prepared.encoding
        tokens = tuple(self.answer.tokens)
        started, first, *_ = self.times
        return Completion(
            "".join(delta.text for delta in self.deltas),
            tokens,
            self.answer.finish_reason,
            replace(Usage.of(plan, encoding.tokens), completion_tokens=len(tokens)),
            Timings(first - started, encoding.seconds, self.times[-1] - first),
            plan,
        )
