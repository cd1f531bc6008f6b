"""Which of many texts stand at a place of another, in the logarithm of their number."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_LONGEST_KEY = 1024


class PrefixIndex(Generic[Item]):
    """Items by a text each begins with.

    The texts are sorted by their first thousand characters, their keys. The longest key that
    begins a given text is the one sorted right before that text or, if this does not begin it, a
    key that begins this one: `_outer` leads from each key to the longest that begins it.
    """

    def __init__(self, items: Iterable[tuple[str, Item]]) -> None:
        filed: defaultdict[str, list[tuple[str, Item]]] = defaultdict(list)
        for text, item in items:
            filed[text[:_LONGEST_KEY]].append((text, item))
        self._keys = sorted(filed)
        self._items = [filed[key] for key in self._keys]
        self._outer: list[int] = []
        for index, key in enumerate(self._keys):
            self._outer.append(self._beginning(key, index - 1))
        self._shortest = min(map(len, self._keys), default=0)
        self._starts = {key[: self._shortest] for key in self._keys}

    def at(self, text: str, start: int) -> Iterable[Item]:
        """The items whose text stands at `start`, longer keys first."""
        if text[start : start + self._shortest] in self._starts:  # mostly not
            return self._searched(text, start)
        return ()

    def _searched(self, text: str, start: int) -> Iterator[Item]:
        head = text[start : start + _LONGEST_KEY]
        index = self._beginning(head, bisect_right(self._keys, head) - 1)
        while index >= 0:
            for prefix, item in self._items[index]:
                if len(prefix) < _LONGEST_KEY or text.startswith(prefix, start):
                    yield item
            index = self._outer[index]

    def _beginning(self, text: str, index: int) -> int:
        """The first key from `index` outwards that begins the text, or -1."""
        while index >= 0 and not text.startswith(self._keys[index]):
            index = self._outer[index]
        return index
