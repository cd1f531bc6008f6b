"""From states to their stored segments: forwards over their tokens, on top of their contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from minillm.kv import KVCache, KVSegment, Placed
from minillm.model import ForwardPlan, Run, Transformer
from pml.context import Node, State
from pml.steps import CHUNK, Steps

TOGETHER = 512
"""Tokens in one forward over several states at most, what only one of them sees included.

64 states of nine tokens, SmolLM2, float32, one thread, in tokens per second: one to a forward 69,
256 tokens to a forward 235, 512 and 1,024 244; a full prefill of as many tokens 229.
"""


@dataclass(frozen=True)
class Job:
    """A state to be encoded, and the segments of the nodes in its context, placed."""

    state: State
    context: Sequence[Placed]

    @classmethod
    def of(cls, state: State, segments: Mapping[State, KVSegment]) -> Job:
        seen = Node(state, state.origin).context
        return cls(state, [Placed(segments[node.state], node.start) for node in seen])


class Encoder:
    """Encodes the states of a model, and keeps its scratch memory warm from one to the next."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._common = model.new_cache()
        self._caches: list[KVCache] = []

    def encode(self, jobs: Sequence[Job]) -> Steps[list[KVSegment]]:
        """The keys and values of each state's tokens from its origin on, seeing its context.

        The states of all `jobs` go through the same forwards, without seeing one another, in chunks
        of at most `CHUNK` tokens each. The bits of a state that is encoded alone depend on its own
        content only.
        """
        caches, starts = self._bring(jobs)
        base = self._common if self._common.num_slots else None
        device = self._model.device
        for first in range(0, max(len(job.state.tokens) for job in jobs), CHUNK):
            texts = [job.state.tokens[first : first + CHUNK] for job in jobs]
            runs, tokens, positions = list[Run](), list[int](), list[int]()
            for job, cache, text in zip(jobs, caches, texts, strict=True):
                if text:
                    start = job.state.origin + first
                    runs.append(Run(cache, len(text), base=base))
                    tokens += text
                    positions += range(start, start + len(text))
            ids, at = torch.tensor(tokens, device=device), torch.tensor(positions, device=device)
            self._model(ids, at, ForwardPlan(runs, []))
            for job, text in zip(jobs, texts, strict=True):
                yield job.state.path, len(text)
        return [c.segment(start, c.num_slots) for c, start in zip(caches, starts, strict=True)]

    def _bring(self, jobs: Sequence[Job]) -> tuple[list[KVCache], list[int]]:
        """Bring the beginning that all contexts have in common into one cache, and the rest of each
        into one of its own; where its own tokens will start."""
        common = _common(job.context for job in jobs)
        self._common.bring(common)
        self._caches += [self._model.new_cache() for _ in jobs[len(self._caches) :]]
        caches = self._caches[: len(jobs)]
        for cache, job in zip(caches, jobs, strict=True):
            cache.bring(job.context[len(common) :], len(job.state.tokens))
        return caches, [cache.num_slots for cache in caches]


def waves(states: Sequence[State]) -> list[list[State]]:
    """The states, in which each comes after its context, so that each wave needs the ones before
    it only."""
    depth: dict[State, int] = {}
    found: list[list[State]] = []
    for state in states:
        before = state.previous
        while before is not None and before not in depth:  # It is stored already.
            before = before.previous
        depth[state] = depth[before] + 1 if before else 0
        if depth[state] == len(found):
            found.append([])
        found[depth[state]].append(state)
    return found


def packed(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Jobs to be encoded together, in order: as many as `TOGETHER` admits, at least one."""
    together: list[Job] = []
    for job in jobs:
        if together and _cost([*together, job]) > TOGETHER:
            yield together
            together = []
        together.append(job)
    if together:
        yield together


def _cost(jobs: Sequence[Job]) -> int:
    shared = len(_common(job.context for job in jobs))
    seen = sum(placed.num_tokens for job in jobs for placed in job.context[shared:])
    return seen + sum(len(job.state.tokens) for job in jobs)


def _common(contexts: Iterable[Sequence[Placed]]) -> Sequence[Placed]:
    """The beginning that all have in common."""
    first, *others = contexts
    for other in others:
        same = 0
        for a, b in zip(first, other, strict=False):
            if a != b:
                break
            same += 1
        first = first[:same]
    return first
