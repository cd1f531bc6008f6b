"""Which state leaves a full tier: the fast order against a list that is searched."""

from __future__ import annotations

import doctest
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pml.store import policy
from pml.store.policy import POLICIES, EvictionOrder, Policy, PolicyName, Use

NAMES: list[PolicyName] = sorted(POLICIES)


@dataclass
class NaiveOrder:
    """The same, by looking at every state each time."""

    policy: Policy
    uses: dict[int, Use] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    age: float = 0.0
    tick: int = 0

    def add(self, key: int, num_bytes: int, seconds: float, count: int) -> None:
        self.tick += 1
        self.uses[key] = Use(num_bytes, seconds, count, self.tick, self.age)

    def use(self, key: int) -> None:
        self.tick += 1
        use = self.uses[key]
        use.count, use.tick, use.age = use.count + 1, self.tick, self.age

    def evict(self) -> int | None:
        free = {
            (self.policy.worth(use), use.tick): key
            for key, use in self.uses.items()
            if key not in self.held
        }
        if not free:
            return None
        (worth, _), victim = min(free.items())
        self.age = max(self.age, worth)
        del self.uses[victim]
        return victim


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "add", "use", "use", "hold", "release", "remove", "evict", "evict"]
        ),
        st.integers(0, 7),
        st.integers(1, 50),
        st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        st.integers(1, 3),
    ),
    max_size=60,
)


@given(name=st.sampled_from(NAMES), steps=STEPS)
def test_the_order_is_that_of_a_search_through_all(
    name: PolicyName, steps: list[tuple[str, int, int, float, int]]
) -> None:
    """What would be wrong otherwise: a worth that was right when the state came to the heap, a
    state that was removed and added again, one that was passed over while it was held."""
    order, naive = EvictionOrder[int](POLICIES[name]), NaiveOrder(POLICIES[name])
    for step, key, num_bytes, seconds, count in steps:
        if step == "evict":
            victim = order.evict(naive.held.__contains__)
            assert victim == naive.evict()
            assert victim not in naive.held
        elif step == "add" and key not in naive.uses:
            order.add(key, num_bytes=num_bytes, seconds=seconds, count=count)
            naive.add(key, num_bytes, seconds, count)
        elif key in naive.uses:
            if step == "use":
                order.use(key)
                naive.use(key)
            elif step == "hold":
                naive.held.add(key)
            elif step == "release":
                naive.held.discard(key)
            elif step == "remove":
                order.remove(key)
                del naive.uses[key]
        assert len(order) == len(naive.uses)
        assert order.age == naive.age


@given(name=st.sampled_from(NAMES), steps=STEPS)
def test_using_a_state_never_makes_it_worth_less(
    name: PolicyName, steps: list[tuple[str, int, int, float, int]]
) -> None:
    """The heap holds what a state was worth once: it would come to the top too late."""
    use, worth = Use(10, 1.0, 1, 1, 0.0), 0.0
    for tick, (_, _, older, seconds, _) in enumerate(steps, 2):
        use.count, use.tick, use.age = use.count + 1, tick, use.age + older * seconds
        assert POLICIES[name].worth(use) >= worth
        worth = POLICIES[name].worth(use)


class Counting:
    """A policy that counts how often it is asked: once for each entry that the heap takes."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.asked = policy, 0

    def worth(self, use: Use) -> float:
        self.asked += 1
        return self.policy.worth(use)


@pytest.mark.parametrize("name", NAMES)
def test_operations_touch_the_heap_about_once_and_it_does_not_grow(name: PolicyName) -> None:
    """20,000 states used, removed, evicted: with one heap entry for each operation at most, each
    takes O(log n) on average, and what was removed does not stay in memory."""
    counting = Counting(POLICIES[name])
    order, operations, count = EvictionOrder[int](counting), 0, 20_000
    for key in range(count):
        order.add(key, num_bytes=1 + key % 97, seconds=key % 31)
        order.use(key * 7919 % (key + 1))
        operations += 2
    for key in range(0, count, 2):
        order.use(key + 1)
        order.remove(key)
        operations += 2
    assert len(order._heap) <= 2 * len(order) + 16
    evicted = [order.evict() for _ in range(count // 2)]
    assert sorted(key for key in evicted if key is not None) == list(range(1, count, 2))
    assert order.evict() is None and not order._heap
    assert counting.asked <= operations + len(evicted)


def test_what_each_policy_lets_go() -> None:
    """Four states: used long ago, seldom, cheap to compute for its bytes, and none of these."""

    def first_out(name: PolicyName) -> str | None:
        order = EvictionOrder[str](POLICIES[name])
        order.add("old", num_bytes=10, seconds=1.0, count=9)
        order.add("seldom", num_bytes=10, seconds=3.0, count=2)
        order.add("cheap", num_bytes=1000, seconds=1.0, count=9)
        order.add("good", num_bytes=10, seconds=1.0, count=9)
        return order.evict()

    assert [first_out(name) for name in ("lru", "lfu", "cost")] == ["old", "seldom", "cheap"]


@pytest.mark.parametrize("name", ["lfu", "cost"])
def test_what_was_popular_once_makes_room(name: PolicyName) -> None:
    """A state that was used 50 times, and then never again, is gone after a while of new ones."""
    order = EvictionOrder[int](POLICIES[name])
    order.add(0, num_bytes=1, seconds=1.0, count=50)
    for key in range(1, 200):
        order.add(key, num_bytes=1, seconds=1.0)
        order.use(key)
        if len(order) > 4:
            order.evict()
    assert 0 not in order


def test_a_state_is_in_a_tier_once() -> None:
    order = EvictionOrder[str](POLICIES["lru"])
    order.add("a", num_bytes=1, seconds=1.0)
    with pytest.raises(ValueError, match="a is in this tier already"):
        order.add("a", num_bytes=1, seconds=1.0)


def test_the_example_is_true() -> None:
    results = doctest.testmod(policy)
    assert results.attempted and not results.failed
