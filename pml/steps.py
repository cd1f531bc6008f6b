"""Long work cut into steps, each a forward at most: told of, cancelled, interleaved with others."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from minillm.generate import never
from minillm.model import Cancelled

T = TypeVar("T")

CHUNK = 256
"""Tokens of one text in a step at most: what others wait for."""

Steps = Generator[tuple[str, int], None, T]
"""Yields the path of a span and how many of its tokens were just computed; 0 before the first.

To cancel it is to ask for no further step: nothing half done is kept.
"""

Progress = Callable[[str, int], None]
"""Told the path of a span and how many of its tokens were just computed."""


def finish(
    steps: Steps[T], progress: Progress | None = None, cancelled: Callable[[], bool] = never
) -> T:
    """The result of all steps. `cancelled` is asked before each: raises `Cancelled`."""
    while not cancelled():
        try:
            path, num_tokens = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if progress and num_tokens:
            progress(path, num_tokens)
    raise Cancelled
