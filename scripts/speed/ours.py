"""This runtime, measured: full prefill, decode, and the first token after reused modules."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import torch

from minillm.generate import prefill
from minillm.kv import KVSegment, Placed
from minillm.model import ForwardPlan, Run, Transformer
from speed.peer import STEPS


class Ours:
    """A model and a warm buffer. Each measurement gives seconds; `fill` comes before `reuse`."""

    def __init__(self, model: Transformer, tokens: Sequence[int]) -> None:
        self.model, self.tokens = model, tokens
        self.cache = model.new_cache(len(tokens))
        self.modules: list[Placed] = []

    def full(self, length: int) -> float:
        """A full prefill."""
        self.cache.clear()
        return self._prefill(range(length))

    def fill(self, length: int) -> None:
        """Keep the states of the first tokens, to be cut into modules."""
        self.full(length)
        self.states: KVSegment = self.cache.segment(0, length)

    def cut(self, cached: int, modules: int) -> None:
        """The modules of the prompts to come: so many, of `cached` tokens together."""
        edges = [cached * part // modules for part in range(modules + 1)]
        self.modules = [
            Placed(self.states, self.states.origin, start, stop) for start, stop in pairwise(edges)
        ]
        self.cached = cached

    def copied(self, new: int) -> float:
        """The first token of a prompt whose modules are copied into the buffer."""
        self.cache.clear()
        return self.kept(new)

    def kept(self, new: int) -> float:
        """The first token of a prompt whose modules the buffer holds from the time before."""
        started = time.perf_counter()
        self.cache.bring(self.modules)
        return time.perf_counter() - started + self._prefill(range(self.cached, self.cached + new))

    def assembly(self) -> float:
        """The copying alone."""
        self.cache.clear()
        started = time.perf_counter()
        self.cache.bring(self.modules)
        return time.perf_counter() - started

    def decode(self, length: int) -> float:
        """A token after `length` others, the mean of the next `STEPS`."""
        if self.cache.num_slots < length:
            self.full(length)
        self.cache.truncate(length)
        started = time.perf_counter()
        for place in range(length, length + STEPS):
            token, position = torch.tensor([7]), torch.tensor([place])
            self.model(token, position, ForwardPlan([Run(self.cache, 1)], [0]))
        return (time.perf_counter() - started) / STEPS

    def _prefill(self, positions: range) -> float:
        started = time.perf_counter()
        prefill(self.model, self.cache, [self.tokens[p] for p in positions], positions)
        return time.perf_counter() - started
