"""A chat: turns and answers whose attention states stay, each turn with modules of its own.

    chat = cache.chat("travel")
    chat.send('<city name="Rome"/><user>What do we see?</user>')
    other = chat.fork()
    chat.send("<frugal/><user>And for less money?</user>")

Of a turn its own text is computed, and what a quality other than `fast` adds; the modules that it
imports are copied behind what stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

from minillm.answer import Answer, Delta, check_max_tokens
from minillm.generate import decode, never, prefill
from minillm.sampling import Sampling
from pml.assembly import fresh_tokens, placed_segments
from pml.completion import Completion, Prefilled, Usage, completed
from pml.conversation import Conversation
from pml.library import Library
from pml.plan import PromptPlan
from pml.prompt import Prompt, parse_turn


class Chat:
    """`cache.chat(schema)` begins one. Only a turn that was answered to its end becomes part of it:
    after an error, or when a stream was dropped, it is as before that turn.

    The schema stays as it was when the chat began. Not safe for use by several threads at a time.
    """

    def __init__(self, library: Library, schema: str) -> None:
        self.usage = Usage(0, 0)
        self._library = library
        self._said = library.conversation(schema)
        self._turns = 0
        self._cache = library.model.transformer.new_cache()
        self._held = 0  # slots of the cache that belong to what has been said
        self._open: _Turn | None = None

    @property
    def plan(self) -> PromptPlan:
        """All turns and answers so far, resolved."""
        return self._said.plan

    def send(
        self,
        turn: str | Prompt,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        cancelled: Callable[[], bool] = never,
    ) -> Completion:
        """The whole answer to a turn: what may stand inside `<prompt>`, or a whole prompt.

        `usage` and `plan` of the answer are of what the turn added, and of the chat up to it. All
        ids that were generated stay in the chat, those of a stop string too. Raises `PMLError` for
        what is wrong with the turn, and `Cancelled`: `cancelled` is asked at each
        token and at each layer of a prefill.
        """
        started = time.perf_counter()
        opened, deltas = self._begin(turn, max_tokens, sampling, stop, cancelled)
        return completed(opened.prefilled, deltas, started)

    def stream(
        self,
        turn: str | Prompt,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        cancelled: Callable[[], bool] = never,
    ) -> Iterator[Delta]:
        """The same answer piece by piece. Once another turn begins, it raises `RuntimeError`."""
        return self._begin(turn, max_tokens, sampling, stop, cancelled)[1]

    def fork(self) -> Chat:
        """A chat that goes on from here by itself: neither influences the other."""
        other = copy(self)
        other._cache, other._open = self._cache.fork(self._held), None
        return other

    def _begin(
        self,
        turn: str | Prompt,
        max_tokens: int,
        sampling: Sampling | None,
        stop: Sequence[str],
        cancelled: Callable[[], bool],
    ) -> tuple[_Turn, Iterator[Delta]]:
        check_max_tokens(max_tokens)
        opened = self._open = self._prefill(turn, cancelled)
        plan = opened.prefilled.plan
        answer = Answer(
            self._library.model,
            self._cache,
            plan.next_position,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            prompt=plan.selected(),
        )
        transformer, logits = self._library.model.transformer, opened.prefilled.logits
        deltas = decode(transformer, answer, logits, cancelled=cancelled)
        return opened, self._answered(opened, answer, deltas)

    def _prefill(self, turn: str | Prompt, cancelled: Callable[[], bool]) -> _Turn:
        self._open = None
        if not isinstance(turn, Prompt):
            turn = parse_turn(turn, self.plan.schema, f"<turn {self._turns + 1}>")
        part, said = self._library.plan_turn(self._said, turn)
        segments, encoding = self._library.segments(part.states, cancelled=cancelled)
        self._cache.truncate(self._held)
        tokens, positions = self._left()
        fresh = fresh_tokens(part)
        tokens, positions = [*tokens, *fresh[0]], [*positions, *fresh[1]]
        copied = self._cache.place(placed_segments(part, segments), len(tokens))
        model = self._library.model.transformer
        logits = prefill(model, self._cache, tokens, positions, cancelled=cancelled)
        usage = Usage.of(part, encoding.tokens)
        return _Turn(said, Prefilled(said.plan, logits, usage, encoding.seconds, copied))

    def _left(self) -> tuple[Sequence[int], Sequence[int]]:
        """The last of what has been said, not taken in yet: tokens and positions."""
        plan = self.plan
        missing = plan.num_cached + plan.num_fresh - self._held
        stop = plan.next_position
        return plan.texts[-1].tokens[-missing:] if missing else (), range(stop - missing, stop)

    def _answered(self, opened: _Turn, answer: Answer, deltas: Iterator[Delta]) -> Iterator[Delta]:
        # Asked before each step, which would otherwise write into another answer's cache.
        while self._open is opened:
            delta = next(deltas)
            if delta.finish_reason is None:
                yield delta
                continue
            self._said, self._held = opened.said.answered(answer.tokens), self._cache.num_slots
            usage = replace(opened.prefilled.usage, completion_tokens=len(answer.tokens))
            self.usage, self._turns = self.usage + usage, self._turns + 1
            yield delta
            return
        raise RuntimeError("another turn was started before this answer was finished")


@dataclass(frozen=True, eq=False)
class _Turn:
    """A turn that is being answered, and what will have been said with it."""

    said: Conversation
    prefilled: Prefilled
