"""Where encoded states are kept: key and origin to KV segment.

A state is stored once for each origin that it was encoded at, and a look-up asks for both: what
an answer's last bits are must never depend on which prompts came before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from minillm.kv import KVSegment
from pml.context import State


@dataclass(frozen=True)
class SegmentKey:
    """The identity of a stored segment: a content hash, and the origin its keys are turned for."""

    digest: str
    origin: int


def segment_key(model: str, tokenizer: str, dtype: str, state: State) -> SegmentKey:
    """sha256 over format, fingerprints of model and tokenizer, dtype, and the state's own key."""
    digest = hashlib.sha256(b"segment 1")
    for value in (model, tokenizer, dtype, state.key):
        data = value.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return SegmentKey(digest.hexdigest(), state.origin)


@dataclass
class MemoryStore:
    """Segments in a dictionary, and what encoding them took in `seconds`, where that is known.
    `hits` and `misses` count what `get` was asked for."""

    segments: dict[SegmentKey, KVSegment] = field(default_factory=dict)
    seconds: dict[SegmentKey, float] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0

    def __contains__(self, key: SegmentKey) -> bool:
        return key in self.segments

    def get(self, key: SegmentKey) -> KVSegment | None:
        """The segment, or None, counted."""
        segment = self.segments.get(key)
        self.hits += segment is not None
        self.misses += segment is None
        return segment

    def put(self, key: SegmentKey, segment: KVSegment, seconds: float | None = None) -> None:
        self.segments[key] = segment
        if seconds is not None:
            self.seconds[key] = seconds

    def origins(self, key: SegmentKey) -> list[int]:
        """The positions that segments of the same content are stored for."""
        return [other.origin for other in self.segments if other.digest == key.digest]

    @property
    def num_bytes(self) -> int:
        return sum(segment.num_bytes for segment in self.segments.values())
