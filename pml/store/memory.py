"""States in memory: on a device, or on the host, where CUDA copies fastest from pinned pages."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace

import torch

from minillm.kv import KVSegment
from pml.store.keys import SegmentKey
from pml.store.policy import CostAware, EvictionOrder, Policy
from pml.store.protocols import About, Held, Stored, StoreFull


class MemoryTier:
    """A dictionary with a budget.

    It keeps segment objects of its own, which share the memory of those that it was given: as long
    as somebody holds one of those, the store knows that the state is in use.
    """

    lasts = False
    damaged = failures = 0

    def __init__(
        self,
        name: str = "memory",
        *,
        budget: int | None = None,
        policy: Policy | None = None,
        device: torch.device | str | None = None,
        is_pinned: bool = False,
    ) -> None:
        self.name, self.budget = name, budget
        self.num_bytes = self.evictions = 0
        self._device, self._is_pinned = device, is_pinned
        self._order = EvictionOrder[SegmentKey](policy or CostAware())
        self._stored: dict[SegmentKey, Stored] = {}
        self._origins: dict[str, dict[int, None]] = {}

    def about(self, key: SegmentKey) -> About | None:
        stored = self._stored.get(key)
        if stored is None:
            return None
        return About(stored.segment.num_bytes, stored.seconds, stored.expires, stored.is_pinned)

    def get(self, key: SegmentKey) -> Stored | None:
        stored = self._stored.get(key)
        if stored is None:
            return None
        self._order.use(key)
        return _twin(stored)

    def reading(self, key: SegmentKey) -> None:
        """Nothing to wait for."""

    def put(self, stored: Stored, is_held: Held) -> list[Stored]:
        self._check_room(stored, is_held)
        self.remove(stored.key)
        evicted = self._make_room(stored.segment.num_bytes, is_held)
        segment = self._moved(stored.segment)
        self._stored[stored.key] = _twin(replace(stored, segment=segment, packed=None))
        self._origins.setdefault(stored.key.digest, {})[stored.key.origin] = None
        self._order.add(stored.key, num_bytes=segment.num_bytes, seconds=stored.cost)
        self.num_bytes += segment.num_bytes
        return evicted

    def remove(self, key: SegmentKey) -> None:
        if key in self._stored:
            self._order.remove(key)
            self._drop(key)

    def __iter__(self) -> Iterator[SegmentKey]:
        return iter(self._stored)

    def origins(self, digest: str) -> list[int]:
        return [*self._origins.get(digest, ())]

    def pin(self, key: SegmentKey, is_pinned: bool) -> None:
        if key in self._stored:
            self._stored[key] = replace(self._stored[key], is_pinned=is_pinned)

    def close(self) -> None:
        """Nothing to do: what is here ends with the process."""

    def _check_room(self, stored: Stored, is_held: Held) -> None:
        size = stored.segment.num_bytes
        if self.budget is None or self.num_bytes + size <= self.budget:
            return
        others = (one for key, one in self._stored.items() if key != stored.key and is_held(key))
        held = sum(one.segment.num_bytes for one in others)
        if held + size > self.budget:
            raise StoreFull(
                f"{stored.label or stored.key.name}: {size:,} bytes do not fit: the budget of "
                f"{self.name} is {self.budget:,}, of which {held:,} are pinned or in use"
            )

    def _make_room(self, size: int, is_held: Held) -> list[Stored]:
        evicted = list[Stored]()
        while self.budget is not None and self.num_bytes + size > self.budget:
            key = self._order.evict(is_held)
            assert key is not None
            evicted.append(self._drop(key))
            self.evictions += 1
        return evicted

    def _drop(self, key: SegmentKey) -> Stored:
        stored = self._stored.pop(key)
        self.num_bytes -= stored.segment.num_bytes
        del self._origins[key.digest][key.origin]
        if not self._origins[key.digest]:
            del self._origins[key.digest]
        return stored

    def _moved(self, segment: KVSegment) -> KVSegment:
        block, offsets = segment.block, segment.offsets
        if self._device is not None:
            block, offsets = block.to(self._device), offsets.to(self._device)
        if self._is_pinned and not block.is_pinned():
            block = block.pin_memory()
        return KVSegment(block, offsets, segment.origin)


def give_back() -> None:
    """Let the system have the memory that was freed. The GNU allocator keeps blocks of up to 32 MB
    that lie between others: without this a process grows a fifth over the budget of its store. It
    takes 1.5 ms, an eviction is no hot path."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _twin(stored: Stored) -> Stored:
    segment = stored.segment
    return replace(stored, segment=KVSegment(segment.block, segment.offsets, segment.origin))
