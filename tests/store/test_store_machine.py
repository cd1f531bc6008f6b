"""Law 11 with tiers: under budgets, evictions, pins and restarts the store is a dictionary that may
forget what it is allowed to forget, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stored_states import NaiveStore, key_of, same, segment_of

from minillm.kv import KVSegment
from pml.store import ModuleStore, SegmentKey, StoreFull
from pml.store.disk import DiskTier
from pml.store.memory import MemoryTier
from pml.store.policy import POLICIES, PolicyName

KEYS = [key_of(seed) for seed in range(12)]
LARGEST = max(segment_of(key).num_bytes for key in KEYS)
keys = st.sampled_from(KEYS)
budgets = st.none() | st.integers(LARGEST, 4 * LARGEST)


class Tiers(RuleBasedStateMachine):
    """Catches a state that is evicted while it is in use or pinned, one that is lost between two
    tiers or at a restart, an old version that comes back from further down, a budget that is
    exceeded, one that is refused though there is room, and one that outlives its time."""

    @initialize(
        memory=budgets,
        host=st.none() | budgets,
        has_host=st.booleans(),
        disk=st.none() | st.integers(8 * LARGEST, 16 * LARGEST),
        has_disk=st.booleans(),
        policy=st.sampled_from(sorted(POLICIES)),
        seconds=st.none() | st.integers(1, 5),
    )
    def start(
        self,
        memory: int | None,
        host: int | None,
        has_host: bool,
        disk: int | None,
        has_disk: bool,
        policy: PolicyName,
        seconds: int | None,
    ) -> None:
        shared = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
        self.naive = NaiveStore(seconds)
        self.clock = SimpleNamespace(time=lambda: self.naive.now)
        self.budgets = [memory, host] if has_host else [memory]
        self.disk, self.has_disk, self.policy = disk, has_disk, POLICIES[policy]
        self.pinned: set[SegmentKey] = set()
        self.held: dict[SegmentKey, KVSegment] = {}
        self.open()

    def open(self) -> None:
        tiers: list[Any] = [
            MemoryTier(name, budget=budget, policy=self.policy)
            for name, budget in zip(("memory", "host"), self.budgets, strict=False)
        ]
        if self.has_disk:
            tiers.append(DiskTier(self.folder.name, budget=self.disk, policy=self.policy))
        self.store = ModuleStore(tiers, ttl=self.naive.seconds)
        self.hits = self.misses = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule(key=keys, version=st.integers(0, 3), hold=st.booleans())
    def put(self, key: SegmentKey, version: int, hold: bool) -> None:
        segment = segment_of(key, version)
        with self.timed():
            try:
                given = self.store.put(key, segment)
            except StoreFull:
                assert not self.fits(key)
                return
        assert given is segment
        self.naive.put(key, segment)
        self.held.pop(key, None)
        if hold:
            self.held[key] = segment

    @rule(key=keys, hold=st.booleans())
    def get(self, key: SegmentKey, hold: bool) -> None:
        with self.timed():
            try:
                found = self.store.get(key)
            except StoreFull:
                assert not self.fits(key)
                self.hits += 1
                return
        expected = self.naive.get(key)
        if expected is None or found is None:
            self.misses += 1
            assert found is None and (expected is None or self.may_forget(key))
            self.naive.remove(key)
            self.held.pop(key, None)
            return
        self.hits += 1
        assert same(found, expected)
        assert key not in self.held or found is self.held[key]
        if hold:
            self.held[key] = found

    @rule(key=keys)
    def contains(self, key: SegmentKey) -> None:
        with self.timed():
            if key in self.store:
                assert self.naive.get(key) is not None
            else:
                assert self.naive.get(key) is None or self.may_forget(key)

    @rule(key=keys)
    def let_go(self, key: SegmentKey) -> None:
        self.held.pop(key, None)

    @rule(key=keys)
    def remove(self, key: SegmentKey) -> None:
        self.store.remove(key)
        self.naive.remove(key)
        self.held.pop(key, None)

    @rule(key=keys, is_pinned=st.booleans())
    def pin(self, key: SegmentKey, is_pinned: bool) -> None:
        with self.timed():
            if key in self.store or not is_pinned:
                self.store.pin(key, is_pinned)
                (self.pinned.add if is_pinned else self.pinned.discard)(key)

    @rule(wanted=st.lists(keys, max_size=4))
    def prefetch(self, wanted: list[SegmentKey]) -> None:
        with self.timed():
            self.store.prefetch(wanted)

    @precondition(lambda self: self.naive.seconds is not None)
    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.naive.now += seconds

    @rule()
    def restart(self) -> None:
        self.held.clear()
        self.store.close()
        if not self.has_disk:
            self.naive.stored.clear()
            self.pinned.clear()
        self.open()

    @invariant()
    def budgets_hold(self) -> None:
        if hasattr(self, "store"):
            for tier in self.store.tiers:
                assert tier.budget is None or tier.num_bytes <= tier.budget, tier.name
            assert (self.store.hits, self.store.misses) == (self.hits, self.misses)

    @invariant()
    def what_is_held_is_there(self) -> None:
        for key, segment in getattr(self, "held", {}).items():
            expected = self.naive.stored[key][0]
            assert torch.equal(segment.block, expected.block)

    def fits(self, key: SegmentKey) -> bool:
        """Whether there is room in some memory beside what is held and pinned, wherever it lies."""
        if None in self.budgets:
            return True
        held = {*self.held, *self.pinned} - {key}
        taken = sum(segment_of(other).num_bytes for other in held)
        return any(taken + segment_of(key).num_bytes <= (budget or 0) for budget in self.budgets)

    def may_forget(self, key: SegmentKey) -> bool:
        if key in self.held or (key in self.pinned and not self.has_disk):
            return False
        if self.has_disk:
            return self.disk is not None
        return None not in self.budgets[-1:]

    def timed(self) -> Any:
        return patch("pml.store.module_store.time", self.clock)


Tiers.TestCase.settings = settings(stateful_step_count=50)
test_law_11_tiers_are_a_dictionary_that_may_forget = Tiers.TestCase
