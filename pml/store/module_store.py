"""ModuleStore: states in tiers, the fastest first; what each is asked for, and what it gives away.

    put ──► memory ─ evicted ─► (host) ─ evicted ─►  gone, or still on disk
       └──► disk, remote: at once, whatever lasts

A state that is found further down moves up. Nothing is evicted that is pinned, or that somebody
still holds the segment of.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakValueDictionary

from minillm.kv import KVSegment
from pml.store.claims import Claims
from pml.store.form import Native
from pml.store.keys import SegmentKey
from pml.store.memory import MemoryTier, give_back
from pml.store.protocols import About, Codec, Stored, StoreFull, Tier

REMEMBERED = 100_000
"""States of which it is still known why they are gone."""


@dataclass(frozen=True)
class Counts:
    """Since the store was opened, by the names of tiers, of misses by their reasons."""

    hits: Mapping[str, int]
    misses: Mapping[str, int]
    evictions: Mapping[str, int]
    num_bytes: Mapping[str, int]
    damaged: Mapping[str, int]
    failures: Mapping[str, int]


class ModuleStore:
    """States by their keys. Without `tiers` in memory, without a limit.

    `ttl` is the seconds that a state lives. Where `codec` loses digits, a state is rounded when it
    is put, so that it is the same in all tiers. Not safe for use by several threads at a time.
    """

    def __init__(
        self,
        tiers: Sequence[Tier] | None = None,
        *,
        ttl: float | None = None,
        codec: Codec | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.tiers: list[Tier] = [MemoryTier()] if tiers is None else [*tiers]
        self.codec: Codec = codec or Native()
        self.hits_by: Counter[str] = Counter()
        self.misses_by: Counter[str] = Counter()
        self._ttl, self._claims = ttl, claims
        self._working: list[Tier] = [tier for tier in self.tiers if not tier.lasts]
        self._lasting: list[Tier] = [tier for tier in self.tiers if tier.lasts]
        self._out: WeakValueDictionary[SegmentKey, KVSegment] = WeakValueDictionary()
        self._pinned: set[SegmentKey] = set()
        self._gone: OrderedDict[SegmentKey, str] = OrderedDict()
        self._coming: dict[tuple[str, SegmentKey], Future[Callable[[], Stored | None]]] = {}

    def __contains__(self, key: SegmentKey) -> bool:
        return self.where(key) is not None

    def get(self, key: SegmentKey) -> KVSegment | None:
        """The segment, or None; counted."""
        for tier in self.tiers:
            if (stored := self._taken(tier, key)) is None:
                continue
            if _is_over(stored.expires):
                self.remove(key)
                self.misses_by["expired"] += 1
                return None
            if stored.key.tokens != key.tokens:
                self.misses_by["other tokens"] += 1
                return None
            self.hits_by[tier.name] += 1
            return self._handed_out(stored, tier)
        self.misses_by[self.why_missing(key) or "never stored"] += 1
        return None

    def put(
        self,
        key: SegmentKey,
        segment: KVSegment,
        seconds: float | None = None,
        *,
        label: str = "",
        namespace: str = "",
    ) -> KVSegment:
        """Keep a segment in place of any other of that key. What `get` will give, which is another
        where the codec rounds. Raises `StoreFull` where nothing may be evicted for it."""
        packed = None
        if not self.codec.is_exact:
            packed = self.codec.pack(segment)
            segment = self.codec.unpack(packed)
        expires = None if self._ttl is None else time.time() + self._ttl
        pinned = key in self._pinned
        stored = Stored(key, segment, seconds, label, namespace, expires, pinned, packed)
        taker = self._place(stored, self._working)
        self._forget(key)
        for tier in self.tiers:
            if tier.lasts:
                tier.put(stored, self.is_held)
            elif tier is not taker:
                tier.remove(key)
        self._out[key] = segment
        return segment

    def remove(self, key: SegmentKey) -> None:
        for tier in self.tiers:
            tier.remove(key)
        self._forget(key)

    def __iter__(self) -> Iterator[SegmentKey]:
        """Of all that lies in memory, as it is now."""
        return iter([key for tier in self._working for key in tier])

    def clear(self) -> None:
        """Forget what lies in memory, and on disk too what of it lies there."""
        for key in self:
            self.remove(key)

    def where(self, key: SegmentKey) -> str | None:
        """The name of the first tier that has it."""
        for tier in self.tiers:
            about = tier.about(key)
            if about is not None:
                return None if _is_over(about.expires) else tier.name
        return None

    def about(self, key: SegmentKey) -> About | None:
        found = (tier.about(key) for tier in self.tiers)
        return next((about for about in found if about is not None), None)

    def why_missing(self, key: SegmentKey) -> str | None:
        """`evicted`, `expired` or `damaged`; None for a state that never was here, as far as this
        process knows."""
        about = self.about(key)
        return "expired" if about and _is_over(about.expires) else self._gone.get(key)

    def origins(self, key: SegmentKey) -> list[int]:
        """The positions that segments of the same content are stored for."""
        return [*dict.fromkeys(o for tier in self.tiers for o in tier.origins(key.digest))]

    def admit(self, needed: Mapping[SegmentKey, int]) -> None:
        """Before any work: that states of these sizes can be in memory together, with what is
        pinned and in use. Raises `StoreFull`."""
        if any(tier.budget is None for tier in self._working):
            return
        budget = sum(tier.budget or 0 for tier in self._working)
        others = {key for key in (*self._pinned, *self._out) if key not in needed}
        held = sum(_size(tier.about(key)) for key in others for tier in self._working)
        if (wanted := sum(needed.values())) + held > budget:
            raise StoreFull(
                f"{wanted:,} bytes of states are needed at once: the budget of memory is "
                f"{budget:,}, of which {held:,} are pinned or in use; raise it, or import less"
            )

    def prefetch(self, keys: Iterable[SegmentKey]) -> None:
        """Begin to read and check those that are not in memory, in other threads; `get` takes what
        has come. What was prefetched before and not taken is dropped."""
        if not self._lasting:
            return
        coming: dict[tuple[str, SegmentKey], Future[Callable[[], Stored | None]]] = {}
        for key in dict.fromkeys(keys):
            if any(tier.about(key) for tier in self._working):
                continue
            for tier in self._lasting:
                if (begun := self._coming.get((tier.name, key))) is not None:
                    coming[tier.name, key] = begun
                    break
                if (reading := tier.reading(key)) is not None:
                    coming[tier.name, key] = self._readers.submit(reading)
                    break
        self._coming = coming

    def pin(self, key: SegmentKey, is_pinned: bool = True) -> None:
        """Never evict a state, from now on and after a restart; or do again."""
        (self._pinned.add if is_pinned else self._pinned.discard)(key)
        for tier in self.tiers:
            tier.pin(key, is_pinned)

    def is_held(self, key: SegmentKey) -> bool:
        """Whether it may not be evicted."""
        return key in self._out or key in self._pinned

    def claim(self, key: SegmentKey) -> bool:
        """Whether this process may encode a state; else another one is about to. Release it."""
        return self._claims is None or self._claims.claim(key)

    def release(self, key: SegmentKey) -> None:
        if self._claims is not None:
            self._claims.release(key)

    @property
    def lasts(self) -> bool:
        """Whether it survives the process."""
        return bool(self._lasting)

    @property
    def hits(self) -> int:
        return self.hits_by.total()

    @property
    def misses(self) -> int:
        return self.misses_by.total()

    @property
    def num_bytes(self) -> int:
        """Of what lies in memory."""
        return sum(tier.num_bytes for tier in self._working)

    def counts(self) -> Counts:
        return Counts(
            dict(self.hits_by),
            dict(self.misses_by),
            {tier.name: tier.evictions for tier in self.tiers},
            {tier.name: tier.num_bytes for tier in self.tiers},
            {tier.name: tier.damaged for tier in self.tiers},
            {tier.name: tier.failures for tier in self.tiers},
        )

    def close(self) -> None:
        """Write down what is not yet; the store is of no use afterwards."""
        if self._lasting:
            self._readers.shutdown(cancel_futures=True)
        for tier in self.tiers:
            tier.close()
        if self._claims is not None:
            self._claims.close()

    @cached_property
    def _readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(4, thread_name_prefix="pml store")

    def _taken(self, tier: Tier, key: SegmentKey) -> Stored | None:
        """Out of a tier, or as it was prefetched."""
        damaged = tier.damaged
        coming = self._coming.pop((tier.name, key), None)
        stored = tier.get(key) if coming is None else coming.result()()
        if tier.damaged > damaged:
            self._remember(key, "damaged")
        return stored

    def _handed_out(self, stored: Stored, tier: Tier) -> KVSegment:
        """The one object that all users of a state hold; moved up, if it was further down."""
        if stored.is_pinned:
            self._pinned.add(stored.key)
        if tier is not self.tiers[0]:
            stored = self._moved_up(stored, tier)
        return self._out.setdefault(stored.key, stored.segment)

    def _moved_up(self, stored: Stored, tier: Tier) -> Stored:
        above = self._working[: self.tiers.index(tier)]
        try:
            taker = self._place(stored, above)
        except StoreFull:
            if tier.lasts:
                raise
            return stored
        if not tier.lasts:
            tier.remove(stored.key)
        return taker.get(stored.key) or stored

    def _place(self, stored: Stored, tiers: Sequence[Tier]) -> Tier:
        """Into the first of `tiers` that has room, or can make it. Raises `StoreFull`."""
        for tier in tiers:
            try:
                evicted = tier.put(stored, self.is_held)
            except StoreFull:
                if tier is tiers[-1]:
                    raise
                continue
            if evicted:
                below = self._working[self._working.index(tier) + 1 :]
                while evicted:
                    self._move_down(evicted.pop(), below)
                give_back()
            return tier
        raise StoreFull("the store has no tier in memory")

    def _move_down(self, stored: Stored, tiers: Sequence[Tier]) -> None:
        try:
            self._place(stored, tiers)
        except StoreFull:
            if not any(tier.about(stored.key) for tier in self._lasting):
                self._remember(stored.key, "evicted")

    def _remember(self, key: SegmentKey, reason: str) -> None:
        self._gone[key] = reason
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)

    def _forget(self, key: SegmentKey) -> None:
        self._gone.pop(key, None)
        self._out.pop(key, None)
        for tier in self._lasting:
            self._coming.pop((tier.name, key), None)


def _is_over(expires: float | None) -> bool:
    return expires is not None and expires <= time.time()


def _size(about: About | None) -> int:
    return about.num_bytes if about else 0
