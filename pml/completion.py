"""What an answer took: tokens reused and computed, seconds, and the plan of it all."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace

from torch import Tensor

from minillm.answer import Delta, FinishReason
from pml.errors import quoted
from pml.plan import PromptPlan


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer: of the prompt, how many were reused and how many computed.

    Of the computed ones `recomputed_tokens` are cached text that was computed again. Besides,
    `encoded_tokens` had to be encoded first because no state was stored.
    """

    cached_tokens: int
    fresh_tokens: int
    recomputed_tokens: int = 0
    encoded_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def of(cls, plan: PromptPlan, encoded_tokens: int) -> Usage:
        return cls(plan.num_cached, plan.num_fresh, plan.num_recomputed, encoded_tokens)

    @property
    def prompt_tokens(self) -> int:
        return self.cached_tokens + self.fresh_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Timings:
    """Seconds: `ttft` from the prompt's text to the first token's id, with `encode` in it (what
    was not stored had to be encoded), and `decode` from there to the end."""

    ttft: float
    encode: float
    decode: float = 0.0

    def __repr__(self) -> str:
        return f"Timings(ttft={self.ttft:.4g}, encode={self.encode:.4g}, decode={self.decode:.4g})"


@dataclass(frozen=True)
class Prefilled:
    """A prompt brought to the point where the next token is drawn: its last token's logits."""

    plan: PromptPlan
    logits: Tensor = field(repr=False)
    usage: Usage
    encode_seconds: float
    copied_tokens: int


@dataclass(frozen=True)
class Completion:
    """A whole answer, what it took, and the plan that says where every token stood."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    plan: PromptPlan

    def __repr__(self) -> str:
        usage, count = self.usage, len(self.tokens)
        return (
            f"<Completion {quoted(self.text)}: {count} tokens, ended by {self.finish_reason}; "
            f"reused {usage.cached_tokens}, computed {usage.fresh_tokens}; "
            f"first token after {self.timings.ttft:.3g} s>"
        )


def completed(prefilled: Prefilled, deltas: Iterable[Delta], started: float) -> Completion:
    """The answer out of its pieces, timed as they come, to a prompt that came at `started`."""
    first = finished = 0.0
    pieces = []
    for delta in deltas:
        finished = time.perf_counter()
        first = first or finished
        pieces.append(delta)
    tokens = tuple(delta.token for delta in pieces if delta.token is not None)
    reason = pieces[-1].finish_reason
    assert reason is not None
    return Completion(
        "".join(delta.text for delta in pieces),
        tokens,
        reason,
        replace(prefilled.usage, completion_tokens=len(tokens)),
        Timings(first - started, prefilled.encode_seconds, finished - first),
        prefilled.plan,
    )
