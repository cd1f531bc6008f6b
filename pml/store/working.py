"""The tiers that a model reads from, on a device and in memory: what one evicts the next takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pml.store.keys import SegmentKey
from pml.store.memory import give_back
from pml.store.protocols import Held, Stored, StoreFull, Tier


class WorkingTiers:
    """The fastest first. Nothing is evicted that `is_held`; `lost` is told what the last one
    evicts."""

    def __init__(
        self, tiers: Sequence[Tier], is_held: Held, lost: Callable[[SegmentKey], None]
    ) -> None:
        self._tiers, self._is_held, self._lost = tiers, is_held, lost

    def __iter__(self) -> Iterator[Tier]:
        return iter(self._tiers)

    def __contains__(self, key: SegmentKey) -> bool:
        return any(tier.about(key) for tier in self._tiers)

    @property
    def budget(self) -> int | None:
        budgets = [tier.budget for tier in self._tiers if tier.budget is not None]
        return sum(budgets) if len(budgets) == len(self._tiers) else None

    @property
    def num_bytes(self) -> int:
        return sum(tier.num_bytes for tier in self._tiers)

    def size(self, key: SegmentKey) -> int:
        """The bytes that a state takes here; 0 where it is not."""
        found = (tier.about(key) for tier in self._tiers)
        return sum(about.num_bytes for about in found if about is not None)

    def place(self, stored: Stored, above: Tier | None = None) -> Tier:
        """Into the first tier that has room, or can make it, of all or of those `above` one. Raises
        `StoreFull`."""
        return self._place(stored, [*self._tiers[: self._rank(above)]])

    def _rank(self, tier: Tier | None) -> int | None:
        return self._tiers.index(tier) if tier in self._tiers else None

    def _place(self, stored: Stored, tiers: Sequence[Tier]) -> Tier:
        for tier in tiers:
            try:
                evicted = tier.put(stored, self._is_held)
            except StoreFull:
                if tier is tiers[-1]:
                    raise
                continue
            if evicted:
                below = self._tiers[self._tiers.index(tier) + 1 :]
                while evicted:
                    self._move_down(evicted.pop(), below)
                give_back()
            return tier
        raise StoreFull("the store has no tier in memory")

    def _move_down(self, stored: Stored, tiers: Sequence[Tier]) -> None:
        try:
            self._place(stored, tiers)
        except StoreFull:
            self._lost(stored.key)
