"""What the parts of a store are to one another: states, tiers that keep them, codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from minillm.errors import LoadError
from minillm.kv import KVSegment
from pml.store.keys import SegmentKey

Held = Callable[[SegmentKey], bool]
"""Whether a state may not be evicted: it is pinned, or somebody uses it."""


class StoreError(LoadError):
    """The store cannot do what it is asked; one line."""


class StoreFull(StoreError):
    """There is no room, and nothing that may be evicted."""


def cost_of(seconds: float | None, num_bytes: int) -> float:
    """Seconds to encode a state again; where nobody knows, as for a small model on one core."""
    return 1e-7 * num_bytes if seconds is None else seconds


@dataclass(frozen=True, eq=False)
class Stored:
    """A segment and what is known of it: the `seconds` that encoding it took, a `label` for people,
    the tenant's `namespace`, when it `expires`, as `time.time` counts, and the `packed` form that a
    rounded segment was restored from: packed once more it would be rounded once more."""

    key: SegmentKey
    segment: KVSegment
    seconds: float | None = None
    label: str = ""
    namespace: str = ""
    expires: float | None = None
    is_pinned: bool = False
    packed: Packed | None = None

    @property
    def cost(self) -> float:
        return cost_of(self.seconds, self.segment.num_bytes)


@dataclass(frozen=True, eq=False)
class Packed:
    """A segment as named tensors and texts: what a safetensors file holds."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


class Codec(Protocol):
    """How the numbers of a segment are stored. `is_exact`: what comes back is bit for bit what was
    put in. `unpack` raises `ValueError` for what `pack` cannot have made."""

    @property
    def name(self) -> str: ...

    @property
    def is_exact(self) -> bool: ...

    def pack(self, segment: KVSegment) -> Packed: ...

    def unpack(self, packed: Packed) -> KVSegment: ...


@dataclass(frozen=True)
class About:
    """What a tier knows of a state without reading it."""

    num_bytes: int
    seconds: float | None
    expires: float | None
    is_pinned: bool = False


Reading = Callable[[], Callable[[], Stored | None]]
"""A state being fetched: the first call may be made in any thread, that of its result not."""


class Tier(Protocol):
    """A place for states within a budget of bytes. `lasts`: what it holds survives the process.

    `get` gives None for what is not there, and for what is damaged, which is put aside and counted
    in `damaged`; `reading` is the same in two steps, where the first one takes time. `put` evicts
    what must go, and gives what another tier may take instead; it raises `StoreFull`, before
    anything has changed, where what is held leaves no room. A place that is full or fails gives
    nothing and keeps nothing, which is logged and counted in `failures`.
    """

    @property
    def name(self) -> str: ...

    @property
    def lasts(self) -> bool: ...

    @property
    def budget(self) -> int | None: ...

    @property
    def num_bytes(self) -> int: ...

    @property
    def evictions(self) -> int: ...

    @property
    def damaged(self) -> int: ...

    @property
    def failures(self) -> int: ...

    def about(self, key: SegmentKey) -> About | None: ...

    def get(self, key: SegmentKey) -> Stored | None: ...

    def reading(self, key: SegmentKey) -> Reading | None: ...

    def put(self, stored: Stored, is_held: Held) -> list[Stored]: ...

    def remove(self, key: SegmentKey) -> None: ...

    def pin(self, key: SegmentKey, is_pinned: bool) -> None: ...

    def __iter__(self) -> Iterator[SegmentKey]: ...

    def origins(self, digest: str) -> list[int]: ...

    def close(self) -> None: ...
