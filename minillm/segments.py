"""Keys and values that are kept: a run of tokens, and where it is placed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class KVSegment:
    """Keys and values of a run of tokens, never changed after it is made.

    `block` is (L, 2, K, n, D), keys at [:, 0] and values at [:, 1]; `offsets` (n,) are the
    tokens' positions relative to `origin`, the position that the first one's keys are turned for.
    """

    block: Tensor
    offsets: Tensor
    origin: int

    @property
    def num_tokens(self) -> int:
        return self.block.shape[3]

    @property
    def num_bytes(self) -> int:
        return self.block.numel() * self.block.element_size()

    def part(self, start: int, stop: int) -> KVSegment:
        """Tokens [start, stop) of this segment, sharing its memory."""
        if (start, stop) == (0, self.num_tokens):
            return self
        return KVSegment(self.block[:, :, :, start:stop], self.offsets[start:stop], self.origin)


@dataclass(frozen=True)
class Placed:
    """Tokens [start, stop) of a segment standing at a place: its token j is at position
    `origin + segment.offsets[j]`. `stop` None is the segment's end."""

    segment: KVSegment
    origin: int
    start: int = 0
    stop: int | None = None

    @property
    def tokens(self) -> KVSegment:
        """Only the tokens that are placed, sharing the segment's memory."""
        stop = self.segment.num_tokens if self.stop is None else self.stop
        return self.segment.part(self.start, stop)

    @property
    def num_tokens(self) -> int:
        return (self.segment.num_tokens if self.stop is None else self.stop) - self.start

    @property
    def distance(self) -> int:
        """How far from where its keys are turned for."""
        return self.origin - self.segment.origin


@dataclass(frozen=True)
class Stretch:
    """Slots [start, stop) whose keys lie turned for positions that are `distance` too small.

    A query at p meets them as it would meet the right ones, if it is turned for p - `distance`.
    """

    start: int
    stop: int
    distance: int
