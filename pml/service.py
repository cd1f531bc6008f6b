"""Answers for any number of threads: one engine thread owns the model, callers hold handles.

    caller ──submit──► waiting ──► engine thread: Batch.step(), again and again
    caller ◄── deltas, result ── Handle ◄──┘

Between two steps, each a chunk or a token at most, prompts join, leave and are cancelled.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from minillm.answer import Delta
from minillm.model import Cancelled
from minillm.sampling import Sampling
from pml.batch import Batch
from pml.completion import Completion
from pml.engine import PromptCache
from pml.plan import PromptPlan
from pml.request import Request
from pml.schemas import PromptSource

T = TypeVar("T")


class Busy(Exception):
    """As many prompts wait as may."""


class Handle:
    """An answer that is on its way. To iterate gives its pieces as they come, once."""

    def __init__(self, add: Callable[[Batch], Request]) -> None:
        self._add = add
        self._deltas: SimpleQueue[Delta | None] = SimpleQueue()
        self._result: Future[Completion] = Future()
        self._is_cancelled = threading.Event()

    def __iter__(self) -> Iterator[Delta]:
        """Raises what went wrong, `Cancelled` where it was cancelled."""
        while (delta := self._deltas.get()) is not None:
            yield delta
        self._deltas.put(None)
        if (error := self._result.exception()) is not None:
            raise error

    def result(self, timeout: float | None = None) -> Completion:
        """The whole answer, waited for. Raises what went wrong, `Cancelled` where it was cancelled,
        and `TimeoutError` after `timeout` seconds."""
        return self._result.result(timeout)

    def cancel(self) -> None:
        """No more of it is computed than the chunk or token that just is. It may be too late."""
        self._is_cancelled.set()

    @property
    def is_over(self) -> bool:
        return self._result.done()

    def _end(self, outcome: Completion | BaseException) -> None:
        if isinstance(outcome, Completion):
            self._result.set_result(outcome)
        else:
            self._result.set_exception(outcome)
        self._deltas.put(None)


class Service:
    """Answers prompts over the schemas of `cache`, `size` of them at a time.

    Further prompts wait, at most `max_waiting` of them. Nothing else may use `cache` meanwhile:
    see `call`. Close it, or use it in a `with` statement.
    """

    def __init__(self, cache: PromptCache, *, size: int = 16, max_waiting: int = 256) -> None:
        self._cache, self._batch, self._max_waiting = cache, Batch(cache, size=size), max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[Handle] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[PromptCache], Any]]] = deque()
        self._running: dict[Request, Handle] = {}
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="pml engine", daemon=True)
        self._thread.start()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        prompt: PromptSource | PromptPlan,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        timeout: float | None = 0.0,
    ) -> Handle:
        """Have `prompt` answered; what is wrong with it comes out of the handle.

        Where too many wait, it waits for `timeout` seconds, None for as long as it takes, and
        raises `Busy`. Raises `RuntimeError` once the service is closed.
        """
        handle = Handle(
            lambda batch: batch.add(prompt, max_tokens=max_tokens, sampling=sampling, stop=stop)
        )
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: self._is_closed or len(self._waiting) < self._max_waiting, timeout
            )
            self._check_open()
            if not has_room:
                raise Busy(f"{self._max_waiting} prompts are waiting already; try again later")
            self._waiting.append(handle)
            self._changed.notify_all()
        return handle

    def call(self, function: Callable[[PromptCache], T]) -> T:
        """What `function` gives, run on the engine's thread between two steps: adding a schema,
        looking at the store."""
        future: Future[T] = Future()

        with self._changed:
            self._check_open()
            self._calls.append((future, function))
            self._changed.notify_all()
        return future.result()

    def close(self) -> None:
        """Cancel what is not answered yet, and wait for the engine's thread to end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the service is closed")

    def _run(self) -> None:
        reason: BaseException = Cancelled("the service was closed")
        try:
            while self._take():
                self._drop_cancelled()
                for request, event in self._batch.step():
                    self._hand_out(request, event)
        except BaseException as error:
            reason = error
            raise
        finally:
            self._end_all(reason)

    def _take(self) -> bool:
        """Wait for something to do, and take in as many prompts as there is room for; False once
        the service is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._waiting or self._running or self._calls
            )
            if self._is_closed:
                return False
            calls, self._calls = self._calls, deque()
            room = self._batch.size - len(self._running)
            taken = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            self._changed.notify_all()
        for future, function in calls:
            try:
                future.set_result(function(self._cache))
            except Exception as error:
                future.set_exception(error)
        for handle in taken:
            try:
                self._running[handle._add(self._batch)] = handle
            except Exception as error:
                handle._end(error)
        return True

    def _drop_cancelled(self) -> None:
        with self._changed:
            dropped = [handle for handle in self._waiting if handle._is_cancelled.is_set()]
            for handle in dropped:
                self._waiting.remove(handle)
            self._changed.notify_all()
        for request, handle in list(self._running.items()):
            if handle._is_cancelled.is_set():
                self._batch.remove(request)
                dropped.append(self._running.pop(request))
        for handle in dropped:
            handle._end(Cancelled("the prompt was cancelled"))

    def _hand_out(self, request: Request, event: Delta | Exception) -> None:
        handle = self._running[request]
        if isinstance(event, Exception):
            del self._running[request]
            handle._end(event)
            return
        handle._deltas.put(event)
        if event.finish_reason is not None:
            del self._running[request]
            handle._end(request.completion())

    def _end_all(self, reason: BaseException) -> None:
        with self._changed:
            self._is_closed = True
            handles = [*self._running.values(), *self._waiting]
            futures = [future for future, _ in self._calls]
            self._changed.notify_all()
        for request in [*self._running]:
            self._batch.remove(request)
        for handle in handles:
            handle._end(reason)
        for future in futures:
            future.set_exception(reason)
