"""Which of many texts stand at a place of another: by the hash of how they begin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_SIZES = (1, 4, 16, 64, 256, 1024)


class PrefixIndex(Generic[Item]):
    """Items by a text each begins with.

    A text is filed under its first 1, 4, 16, … characters, as many as it has: a look-up takes a
    few steps, and the texts that it compares share a quarter of themselves, or a thousand letters.
    """

    def __init__(self, items: Iterable[tuple[str, Item]]) -> None:
        self._filed: defaultdict[str, list[tuple[str, Item]]] = defaultdict(list)
        for text, item in items:
            size = max(size for size in _SIZES if size <= len(text))
            self._filed[text[:size]].append((text, item))
        self._sizes = sorted({len(key) for key in self._filed})
        self._least = self._sizes[0] if self._sizes else 0
        self._starts = {key[: self._least] for key in self._filed}

    def at(self, text: str, start: int) -> Iterator[Item]:
        """The items whose text stands at `start`."""
        if text[start : start + self._least] not in self._starts:
            return
        for size in self._sizes:
            for prefix, item in self._filed.get(text[start : start + size], ()):
                if text.startswith(prefix, start):
                    yield item
