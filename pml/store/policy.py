"""Which state leaves a full tier first.

A **policy** says what keeping a state is worth; it is a pure function of how the state was used. An
`EvictionOrder` keeps the states of one tier and names the one of least worth, which leaves first.
What is held (pinned, or in use by a request) it never names.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Use:
    """How a state in a tier was used: its size, the seconds that encoding it took, how often and
    when last it was used (ticks count operations), and the tier's `age` then."""

    num_bytes: int
    seconds: float
    count: int
    tick: int
    age: float


class Policy(Protocol):
    """What a state is worth. Never falls when the state is used."""

    def worth(self, use: Use) -> float: ...


class LeastRecentlyUsed:
    """The state that was not used for the longest time leaves."""

    def worth(self, use: Use) -> float:
        return use.tick


class LeastFrequentlyUsed:
    """The state that was used least often leaves; what was popular once ages (LFU with dynamic
    aging: Arlitt, Cherkasova, Dilley, Friedrich, Jin 2000, "Evaluating content management
    techniques for web proxy caches")."""

    def worth(self, use: Use) -> float:
        return use.age + use.count


class CostAware:
    """The state leaves that saves the least time for its bytes: uses · seconds / bytes, aged
    (GreedyDual-Size-Frequency: Cherkasova 1998, "Improving WWW proxies performance with
    Greedy-Dual-Size-Frequency caching policy")."""

    def worth(self, use: Use) -> float:
        return use.age + use.count * use.seconds / use.num_bytes


PolicyName = Literal["lru", "lfu", "cost"]
POLICIES: dict[PolicyName, Policy] = {
    "lru": LeastRecentlyUsed(),
    "lfu": LeastFrequentlyUsed(),
    "cost": CostAware(),
}


class EvictionOrder(Generic[Key]):
    """The states of a tier, the least worthy first; of equal ones that which was used longer ago.

    `age` is the worth of the last state that was evicted: a new state starts from there, and need
    not catch up with the whole past of the others. Each operation takes O(log n) on average: the
    heap has one entry per state, whose worth may have risen since, and which is put right when it
    comes to the top.

    >>> order = EvictionOrder[str](LeastRecentlyUsed())
    >>> for name in "abc":
    ...     order.add(name, num_bytes=100, seconds=1.0)
    >>> order.use("a")
    >>> order.evict(lambda key: key == "b"), order.evict(), order.evict(), order.evict()
    ('c', 'b', 'a', None)
    """

    def __init__(self, policy: Policy) -> None:
        self.age = 0.0
        self._policy = policy
        self._uses: dict[Key, Use] = {}
        self._heap: list[tuple[float, int, Key, Use]] = []
        self._tick = 0

    def __len__(self) -> int:
        return len(self._uses)

    def __contains__(self, key: Key) -> bool:
        return key in self._uses

    def add(self, key: Key, *, num_bytes: int, seconds: float, count: int = 1) -> None:
        """`key` entered the tier. `count` are its uses, those known from before included."""
        if key in self._uses:
            raise ValueError(f"{key} is in this tier already")
        self._tick += 1
        self._uses[key] = Use(max(num_bytes, 1), seconds, count, self._tick, self.age)
        self._queue(key, self._uses[key])

    def use(self, key: Key) -> None:
        self._tick += 1
        use = self._uses[key]
        use.count, use.tick, use.age = use.count + 1, self._tick, self.age

    def remove(self, key: Key) -> None:
        """`key` left the tier for another reason than `evict`."""
        del self._uses[key]
        if len(self._heap) > 2 * len(self._uses) + 16:
            self._heap = [entry for entry in self._heap if self._uses.get(entry[2]) is entry[3]]
            heapq.heapify(self._heap)

    def evict(self, is_held: Callable[[Key], bool] = lambda _: False) -> Key | None:
        """The state of least worth that is not held, which leaves the tier; None if all are."""
        passed: list[tuple[float, int, Key, Use]] = []
        found = None
        while found is None and self._heap:
            worth, tick, key, use = heapq.heappop(self._heap)
            if self._uses.get(key) is not use:
                continue
            if use.tick != tick:
                self._queue(key, use)
            elif is_held(key):
                passed.append((worth, tick, key, use))
            else:
                del self._uses[key]
                self.age = max(self.age, worth)
                found = key
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found

    def _queue(self, key: Key, use: Use) -> None:
        heapq.heappush(self._heap, (self._policy.worth(use), use.tick, key, use))
