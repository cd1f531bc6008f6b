"""States on their way: read and checked in other threads, before they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from pml.store.keys import SegmentKey
from pml.store.protocols import Stored, Tier

Place = tuple[str, SegmentKey]
"""The name of a tier, and what is read from it."""


class Prefetch:
    """From `tiers`, of which the first that has a state is read."""

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self._tiers = tiers
        self._coming: dict[Place, Future[Callable[[], Stored | None]]] = {}

    def begin(self, keys: Iterable[SegmentKey]) -> None:
        """What was begun before and not taken is dropped, unless it is among `keys`."""
        coming: dict[Place, Future[Callable[[], Stored | None]]] = {}
        for key in dict.fromkeys(keys):
            for tier in self._tiers:
                place = tier.name, key
                if (begun := self._coming.get(place)) is not None:
                    coming[place] = begun
                    break
                if (reading := tier.reading(key)) is not None:
                    coming[place] = self._readers.submit(reading)
                    break
        self._coming = coming

    def get(self, tier: Tier, key: SegmentKey) -> Stored | None:
        """As `tier.get`, which need not begin to read what has come."""
        coming = self._coming.pop((tier.name, key), None)
        return tier.get(key) if coming is None else coming.result()()

    def drop(self, key: SegmentKey) -> None:
        for tier in self._tiers:
            self._coming.pop((tier.name, key), None)

    def close(self) -> None:
        if self._tiers:
            self._readers.shutdown(cancel_futures=True)

    @cached_property
    def _readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(4, thread_name_prefix="pml store")
