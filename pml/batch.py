"""Many prompts answered together; they join and leave between two steps (continuous batching).

    waiting ──► ready ──► prefilling ──► answering ──► over
    planned, and what is    fresh tokens,   a token a step,
    missing encoded         in chunks       all in one forward

A step does a little for every request: at most one forward of encoding, one of prefill and one of
decoding. What prompts have in common is held once (`pml/bases.py`); the rest of each, and its
answer, lies in a cache of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from minillm.answer import Answer, Delta
from minillm.generate import advance
from minillm.kv import KVCache
from minillm.model import ForwardPlan, Run
from minillm.sampling import Sampling
from pml.assembly import fresh_tokens
from pml.bases import Base, Held, shared
from pml.encoder import TOGETHER
from pml.library import Library
from pml.plan import PromptPlan
from pml.request import Request
from pml.schemas import PromptSource
from pml.steps import CHUNK

Event = tuple[Request, Delta | Exception]
"""A piece of a request's answer, or the error that ended it."""


class Batch:
    """Requests over the schemas of one library, at most `size` of them computed at a time.

    Raises `ValueError` for a size that lets none in. Not safe for use by several threads at a time:
    see `pml/service.py`.
    """

    def __init__(self, library: Library, *, size: int = 16) -> None:
        if size < 1:
            raise ValueError(f"the size of a batch is {size}, expected at least 1")
        self.library, self.size = library, size
        self.requests: list[Request] = []
        self.bases: dict[Held, Base] = {}
        self._spare: list[KVCache] = []
        self._warm = library.model.transformer.new_cache()

    def add(
        self,
        prompt: PromptSource | PromptPlan,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Request:
        """Take a prompt. What is wrong with it comes as an event of the next step."""
        request = Request(self.library.prepare(prompt), max_tokens, sampling, stop)
        self.requests.append(request)
        return request

    def remove(self, request: Request) -> None:
        """Stop at once; nothing of it stays but the states that were encoded. No matter if it is
        over."""
        if request not in self.requests:
            return
        self.requests.remove(request)
        request.steps.close()
        if request.answer is not None:
            request.answer.cache.clear()
            self._spare.append(request.answer.cache)
        for held, base in list(self.bases.items()):
            if not any(r.answer and r.answer.base is base.cache for r in self.requests):
                self._warm = self.bases.pop(held).cache

    def prepare(self) -> list[Event]:
        """Bring all prompts to the point where their states are there, so that the first step
        knows what they have in common."""
        events: list[Event] = []
        while any(request.prepared is None for request in self.requests):
            self._prepare(events)
        return events

    def step(self) -> list[Event]:
        """Do a little for every request; the pieces of answers that came of it."""
        events: list[Event] = []
        answering = [r for r in self.requests if r.answer is not None and not r.left]
        self._prepare(events)
        self._admit(events)
        self._prefill(events)
        if answering:
            self._forward(answering, self._advance, events)
        return events

    def _prepare(self, events: list[Event]) -> None:
        """Plan the newcomers; of those that lack states, encode a chunk for the first one."""
        waiting = [request for request in self.requests if request.prepared is None]
        encoding = next((request for request in waiting if request.is_encoding), None)
        for request in waiting:
            if request is encoding or not request.is_encoding:
                with self._blamed_on(request, events):
                    self._prepare_one(request)

    def _prepare_one(self, request: Request) -> None:
        try:
            _, num_tokens = next(request.steps)
            if request.is_encoding and not num_tokens:
                next(request.steps)
            request.is_encoding = True
        except StopIteration as end:
            request.prepared = end.value

    def _admit(self, events: list[Event]) -> None:
        """Give those that are ready their caches, as far as there is room."""
        room = self.size - sum(request.answer is not None for request in self.requests)
        ready = [r for r in self.requests if r.prepared is not None and r.answer is None][:room]
        wanted = [Held(r.prepared.placed) for r in ready if r.prepared is not None]
        for request, held in zip(ready, shared(wanted, [*self.bases]), strict=True):
            with self._blamed_on(request, events):
                self._admit_one(request, held)

    def _admit_one(self, request: Request, held: Held) -> None:
        assert request.prepared is not None
        placed, new_cache = request.prepared.placed, self.library.model.transformer.new_cache
        if held and held not in self.bases:
            cache, self._warm = self._warm, new_cache()
            cache.bring([one for one in placed if one in held])
            self.bases[held] = Base(held, cache)
        own = self._spare.pop() if self._spare else new_cache()
        own.bring([one for one in placed if one not in held], request.plan.num_fresh)
        request.answer = Answer(
            self.library.model,
            own,
            request.plan.next_position,
            max_tokens=request.max_tokens,
            sampling=request.sampling,
            stop=request.stop,
            base=self.bases[held].cache if held else None,
            prompt=request.plan.selected(),
        )

    def _prefill(self, events: list[Event]) -> None:
        """A chunk of each prompt, as many of them as one forward admits, the oldest first."""
        chosen, num_tokens = list[Request](), 0
        for request in self.requests:
            if request.answer is not None and request.left:
                num_tokens += min(request.left, CHUNK)
                if chosen and num_tokens > TOGETHER:
                    break
                chosen.append(request)
        if chosen:
            self._forward(chosen, self._prefill_chunk, events)

    def _prefill_chunk(self, requests: Sequence[Request]) -> list[Tensor | None]:
        """The logits of each whose prompt is through with this."""
        bases = [None, *(base.cache for base in self.bases.values())]
        packed = sorted(requests, key=lambda r: bases.index(r.answer.base if r.answer else None))
        tokens, positions = list[int](), list[int]()
        runs, logits_of, finished = list[Run](), list[int](), list[Request]()
        for request in packed:
            assert request.answer is not None
            size = min(request.left, CHUNK)
            part = slice(request.num_prefilled, request.num_prefilled + size)
            ids, at = fresh_tokens(request.plan)
            tokens += ids[part]
            positions += at[part]
            runs.append(Run(request.answer.cache, size, base=request.answer.base))
            if size == request.left:
                logits_of.append(len(tokens) - 1)
                finished.append(request)
        model = self.library.model.transformer
        ids_at = (torch.tensor(values, device=model.device) for values in (tokens, positions))
        logits = model(*ids_at, ForwardPlan(runs, logits_of))
        for request, run in zip(packed, runs, strict=True):
            request.num_prefilled += run.num_tokens
        found = dict(zip(finished, logits, strict=True))
        return [found.get(request) for request in requests]

    def _advance(self, requests: Sequence[Request]) -> list[Tensor | None]:
        answers = [request.answer for request in requests if request.answer is not None]
        return [*advance(self.library.model.transformer, answers)]

    def _forward(
        self,
        requests: Sequence[Request],
        run: Callable[[Sequence[Request]], list[Tensor | None]],
        events: list[Event],
    ) -> None:
        """Run them together and draw their tokens; if that fails, each alone, to know whose fault
        it is."""
        try:
            rows = run(requests)
        except Exception as error:
            if len(requests) == 1:
                self._fail(requests[0], error, events)
                return
            for request in requests:
                self._forward([request], run, events)
            return
        for request, logits in zip(requests, rows, strict=True):
            if logits is not None:
                with self._blamed_on(request, events):
                    events += [(request, delta) for delta in request.take(logits)]
                if request.answer is not None and request.answer.finish_reason is not None:
                    self.remove(request)

    @contextmanager
    def _blamed_on(self, request: Request, events: list[Event]) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._fail(request, error, events)

    def _fail(self, request: Request, error: Exception, events: list[Event]) -> None:
        request.error = error
        events.append((request, error))
        self.remove(request)
