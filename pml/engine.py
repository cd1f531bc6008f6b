"""PromptCache: schemas in, answers out; what prompts have in common is computed once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from minillm.answer import Answer, Delta, check_max_tokens
from minillm.generate import decode, prefill
from minillm.kv import KVCache
from minillm.sampling import Sampling
from pml.assembly import fresh_tokens
from pml.batch import Batch
from pml.card import Card, card_of
from pml.chat import Chat
from pml.completion import Completion, Prefilled, Usage, completed
from pml.library import Library
from pml.plan import PromptPlan
from pml.schemas import PromptSource, several
from pml.steps import Progress, finish
from pml.store import StoreFull


class PromptCache(Library):
    """Answers prompts over schemas, reusing the stored states of the modules they import.

    The options are those of `Library`. Several threads may not use it at a time, see `Service`:
    raises `RuntimeError` where one prefills or decodes while another does.
    """

    _latest: Prefilled | None = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("another thread is using this PromptCache: take pml.Service")
        try:
            yield
        finally:
            self._in_use.release()

    @cached_property
    def _buffer(self) -> KVCache:
        return self.model.transformer.new_cache()

    @property
    def card(self) -> Card | None:
        """What `pml gate` found out about reuse with this model; None where it was never run.
        Raises `LoadError` for a card of other weights."""
        return card_of(self.model)

    def prefill(
        self, prompt: PromptSource | PromptPlan, *, progress: Progress | None = None
    ) -> Prefilled:
        """Bring the prompt's modules together and compute its fresh tokens."""
        with self._alone():
            return self._prefill(prompt, progress)

    def _prefill(self, prompt: PromptSource | PromptPlan, progress: Progress | None) -> Prefilled:
        try:
            prepared = finish(self.prepare(prompt), progress)
        except StoreFull:  # of states that the prompt before needed, and the buffer still holds
            self.forget_buffer()
            prepared = finish(self.prepare(prompt), progress)
        plan, encoding = prepared.plan, prepared.encoding
        self._latest = None
        copied = self._buffer.bring(prepared.placed, plan.num_fresh)
        logits = prefill(self.model.transformer, self._buffer, *fresh_tokens(plan))
        usage = Usage.of(plan, encoding.tokens)
        self._latest = Prefilled(plan, logits, usage, encoding.seconds, copied)
        return self._latest

    def forget_buffer(self) -> None:
        """Empty the warm buffer: the next prompt copies all of its modules anew."""
        self._latest = None
        self._buffer.clear()

    def stream(
        self,
        prompt: PromptSource,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[Delta]:
        """The answer piece by piece; the pieces' texts together are the whole text, which ends
        before the first of the texts `stop`.

        Finish or drop one stream before the next prompt: see `decode`.
        """
        check_max_tokens(max_tokens)
        prefilled = self.prefill(prompt)
        return self.decode(prefilled, max_tokens=max_tokens, sampling=sampling, stop=stop)

    def generate(
        self,
        prompt: PromptSource,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Completion:
        """The whole answer."""
        check_max_tokens(max_tokens)
        started = time.perf_counter()
        prefilled = self.prefill(prompt)
        deltas = self.decode(prefilled, max_tokens=max_tokens, sampling=sampling, stop=stop)
        return completed(prefilled, deltas, started)

    def chat(self, schema: str) -> Chat:
        """A chat over a schema, packed if nobody said how. Raises `PMLError` for `fixed`."""
        return Chat(self, schema)

    def batch(
        self,
        prompts: Iterable[PromptSource | PromptPlan],
        *,
        max_tokens: int = 128,
        sampling: Sampling | Sequence[Sampling | None] | None = None,
        stop: Sequence[str] = (),
        size: int = 16,
    ) -> list[Completion]:
        """The whole answers to several prompts, of one schema or of several, computed together, at
        most `size` at a time. `sampling` is for all, or one for each.

        What the prompts have in common is held and attended once: see `pml/batch.py`.
        """
        prompts = several(prompts)
        each = sampling if isinstance(sampling, Sequence) else [sampling] * len(prompts)
        if len(each) != len(prompts):
            raise ValueError(f"{len(each)} samplings for {len(prompts)} prompts, expected as many")
        batch = Batch(self, size=size)
        requests = [
            batch.add(prompt, max_tokens=max_tokens, sampling=one, stop=stop)
            for prompt, one in zip(prompts, each, strict=True)
        ]
        events = batch.prepare()
        while batch.requests or events:
            for _, event in events:
                if isinstance(event, Exception):
                    raise event
            events = batch.step()
        return [request.completion() for request in requests]

    def decode(
        self,
        prefilled: Prefilled,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[Delta]:
        """The answer to the prompt that was prefilled last.

        Raises `RuntimeError` once another prompt has taken the buffer that the answer lives in.
        """
        answer = Answer(
            self.model,
            self._buffer,
            prefilled.plan.next_position,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            prompt=prefilled.plan.selected(),
        )
        deltas = decode(self.model.transformer, answer, prefilled.logits)
        if self._latest is prefilled:  # An earlier answer to it may lie behind the prompt.
            self._buffer.truncate(prefilled.usage.prompt_tokens)
        # Asked before each step, which would otherwise write into another answer's buffer.
        while self._latest is prefilled:
            with self._alone():
                delta = next(deltas, None)
            if delta is None:
                return
            yield delta
        raise RuntimeError("another prompt was started before this answer was finished")
