"""PromptCache: schemas in, answers out; what prompts have in common is computed once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property

from minillm.answer import Answer, Delta, check_max_tokens
from minillm.generate import decode, prefill
from minillm.kv import KVCache
from minillm.sampling import Sampling
from pml.assembly import fresh_tokens, placed_segments
from pml.chat import Chat
from pml.completion import Completion, Prefilled, Usage, completed
from pml.library import Library, Progress
from pml.plan import PromptPlan
from pml.prompt import Prompt


class PromptCache(Library):
    """Answers prompts over schemas, reusing the stored states of the modules they import.

    The options are those of `Library`. Not safe for use by several threads at a time.
    """

    _latest: Prefilled | None = None

    @cached_property
    def _buffer(self) -> KVCache:
        return self.model.transformer.new_cache()

    def prefill(
        self, prompt: str | bytes | Prompt | PromptPlan, *, progress: Progress | None = None
    ) -> Prefilled:
        """Bring the prompt's modules together and compute its fresh tokens."""
        plan = prompt if isinstance(prompt, PromptPlan) else self.plan(prompt)
        segments, encoding = self.segments(plan.states, progress)
        self._latest = None
        copied = self._buffer.bring(placed_segments(plan, segments), plan.num_fresh)
        logits = prefill(self.model.transformer, self._buffer, *fresh_tokens(plan))
        usage = Usage(plan.num_cached, plan.num_fresh, plan.num_recomputed, encoding.tokens)
        self._latest = Prefilled(plan, logits, usage, encoding.seconds, copied)
        return self._latest

    def forget_buffer(self) -> None:
        """Empty the warm buffer: the next prompt copies all of its modules anew."""
        self._latest = None
        self._buffer.clear()

    def stream(
        self,
        prompt: str | bytes | Prompt,
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
        prompt: str | bytes | Prompt,
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
        """A chat over a schema of the layout `packed`. Raises `PMLError` for another."""
        return Chat(self, schema)

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
        )
        deltas = decode(self.model.transformer, answer, prefilled.logits)
        if self._latest is prefilled:  # An earlier answer to it may lie behind the prompt.
            self._buffer.truncate(prefilled.usage.prompt_tokens)
        # Asked before each step, which would otherwise write into another answer's buffer.
        while self._latest is prefilled:
            if (delta := next(deltas, None)) is None:
                return
            yield delta
        raise RuntimeError("another prompt was started before this answer was finished")
