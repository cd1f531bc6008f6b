"""ModuleStore: states in tiers, the fastest first; what each is asked for, and what it gives away.

    put ──► memory ─ evicted ─► (host) ─ evicted ─►  gone, or still on disk
       └──► disk, remote: at once, whatever lasts

A state that is found further down moves up. Nothing is evicted that is pinned, or that somebody
still holds the segment of.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from minillm.kv import KVSegment
from pml.store.claims import Claims
from pml.store.form import Native
from pml.store.keys import SegmentKey
from pml.store.memory import MemoryTier
from pml.store.prefetch import Prefetch
from pml.store.protocols import About, Codec, Stored, StoreFull, Tier
from pml.store.working import WorkingTiers

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
        working = [tier for tier in self.tiers if not tier.lasts]
        self._working = WorkingTiers(working, self.is_held, self._evicted)
        self._lasting: list[Tier] = [tier for tier in self.tiers if tier.lasts]
        self._prefetch = Prefetch(self._lasting)
        self._out: WeakValueDictionary[SegmentKey, KVSegment] = WeakValueDictionary()
        self._pinned: set[SegmentKey] = set()
        self._gone: OrderedDict[SegmentKey, str] = OrderedDict()

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
        taker = self._working.place(stored)
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
        if (budget := self._working.budget) is None:
            return
        others = {key for key in (*self._pinned, *self._out) if key not in needed}
        held = sum(self._working.size(key) for key in others)
        if (wanted := sum(needed.values())) + held > budget:
            raise StoreFull(
                f"{wanted:,} bytes of states are needed at once: the budget of memory is "
                f"{budget:,}, of which {held:,} are pinned or in use; raise it, or import less"
            )

    def prefetch(self, keys: Iterable[SegmentKey]) -> None:
        """Begin to read and check those that are not in memory, in other threads; `get` takes what
        has come. What was prefetched before and not taken is dropped."""
        self._prefetch.begin(key for key in keys if key not in self._working)

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
        return self._working.num_bytes

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
        self._prefetch.close()
        for tier in self.tiers:
            tier.close()
        if self._claims is not None:
            self._claims.close()

    def _taken(self, tier: Tier, key: SegmentKey) -> Stored | None:
        """Out of a tier, or as it was prefetched."""
        damaged = tier.damaged
        stored = self._prefetch.get(tier, key)
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
        try:
            taker = self._working.place(stored, above=tier)
        except StoreFull:
            if tier.lasts:
                raise
            return stored
        if not tier.lasts:
            tier.remove(stored.key)
        return taker.get(stored.key) or stored

    def _evicted(self, key: SegmentKey) -> None:
        if not any(tier.about(key) for tier in self._lasting):
            self._remember(key, "evicted")

    def _remember(self, key: SegmentKey, reason: str) -> None:
        self._gone[key] = reason
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)

    def _forget(self, key: SegmentKey) -> None:
        self._gone.pop(key, None)
        self._out.pop(key, None)
        self._prefetch.drop(key)


def _is_over(expires: float | None) -> bool:
    return expires is not None and expires <= time.time()
