"""This runtime, measured: full prefill, decode, and the first token after reused modules."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import torch

from minillm.bench import Bench
from minillm.generate import prefill
from minillm.kv import KVSegment, Placed
from minillm.model import ForwardPlan, Run
from speed.peer import STEPS

MOVED = 8
"""Positions from one module's move to the next one's."""


class Ours(Bench):
    """Each measurement gives the seconds of one run; `keep` comes before those with modules."""

    def full(self, length: int) -> float:
        """A full prefill."""
        started = time.perf_counter()
        self.fill(length)
        return time.perf_counter() - started

    def keep(self, length: int) -> float:
        """A full prefill of the first tokens, whose states can then be cut into modules."""
        seconds = self.full(length)
        self.states: KVSegment = self.cache.segment(0, length)
        return seconds

    def cut(self, cached: int, modules: int) -> None:
        """Sets the modules of the prompts to come: so many, of `cached` tokens together."""
        edges = [cached * part // modules for part in range(modules + 1)]
        self.modules = [self._placed(start, stop) for start, stop in pairwise(edges)]
        self.moved_modules = [
            self._placed(start, stop, MOVED * (number + 1))
            for number, (start, stop) in enumerate(pairwise(edges))
        ]
        self.cached = cached

    def _placed(self, start: int, stop: int, distance: int = 0) -> Placed:
        return Placed(self.states, self.states.origin + distance, start, stop)

    def copied(self, new: int) -> float:
        """The first token of a prompt whose modules are copied into the buffer."""
        self.cache.clear()
        return self.kept(new)

    def moved(self, new: int) -> float:
        """As `copied`, with each module elsewhere than it was encoded, by another distance."""
        self.cache.clear()
        return self._first(new, self.moved_modules)

    def kept(self, new: int) -> float:
        """The first token of a prompt whose modules the buffer holds from the time before."""
        return self._first(new, self.modules)

    def _first(self, new: int, modules: Sequence[Placed]) -> float:
        started = time.perf_counter()
        self.cache.bring(modules)
        start = self.cached + modules[-1].distance
        positions = range(start, start + new)
        prefill(self.model, self.cache, self.tokens[:new], positions)
        return time.perf_counter() - started

    def assembly(self) -> float:
        """The copying alone."""
        self.cache.clear()
        started = time.perf_counter()
        self.cache.bring(self.modules)
        return time.perf_counter() - started

    def decode(self, length: int) -> float:
        """A token after `length` others, which `fill` has left there, the mean of `STEPS`."""
        self.cache.truncate(length)
        started = time.perf_counter()
        for place in range(length, length + STEPS):
            token, position = torch.tensor([7]), torch.tensor([place])
            self.model(token, position, ForwardPlan([Run(self.cache, 1)], [0]))
        return (time.perf_counter() - started) / STEPS
