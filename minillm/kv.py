"""Where keys and values live: immutable segments, and the warm buffer they are brought into.

A **position** is what the model sees; a **slot** is where memory is. Only `KVCache` knows slots.

    segment A (origin 0)   segment B (origin 40)      fresh tokens
    positions 0 1 2        positions 40 41            positions 3 42 43
    slots     0 1 2                  3  4                       5  6  7
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minillm.config import ModelConfig
from minillm.rope import rope_for

HEADROOM = 256
"""Slots to spare when a buffer grows."""


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


class KVCache:
    """The keys and values that one sequence sees, slot by slot, in one buffer (L, 2, K, cap, D).

    Placed segments come first, then what forwards append. The buffer stays warm from request to
    request (fresh memory costs ten times as much to write as memory that is already mapped), and
    `bring` copies only what it does not already hold.
    """

    def __init__(
        self,
        config: ModelConfig,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        capacity: int = 0,
    ) -> None:
        self.rope = (
            rope_for(config, torch.device(device)) if config.position_scheme == "rope" else None
        )
        self._is_bound = config.position_scheme == "learned"
        shape = (config.num_layers, 2, config.num_kv_heads, capacity, config.head_dim)
        self._block = torch.empty(shape, dtype=dtype, device=device)
        self._positions = torch.empty(capacity, dtype=torch.long, device=device)
        self._placed: list[Placed] = []
        self.num_slots = 0

    @property
    def capacity(self) -> int:
        return self._block.shape[3]

    @property
    def positions(self) -> Tensor:
        """Positions (S,) of the slots in use."""
        return self._positions[: self.num_slots]

    def keys(self, layer: int) -> Tensor:
        """(K, S, D)"""
        return self._block[layer, 0, :, : self.num_slots]

    def values(self, layer: int) -> Tensor:
        """(K, S, D)"""
        return self._block[layer, 1, :, : self.num_slots]

    def states(self, start: int, stop: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Views of the keys and of the values (K, stop - start, D) of these slots, by layer.

        They are for writing too, and good until the buffer grows.
        """
        keys, values = self._block[:, :, :, start:stop].unbind(1)
        return keys.unbind(), values.unbind()

    def clear(self) -> None:
        self._placed.clear()
        self.num_slots = 0

    @torch.inference_mode()
    def reserve(self, num_tokens: int) -> None:
        """Make room for `num_tokens` more slots; what is held stays held.

        A larger buffer is taken with `HEADROOM` to spare, so that an answer that starts in it does
        not have to move at once.
        """
        needed = self.num_slots + num_tokens
        if needed <= self.capacity:
            return
        capacity = max(needed + HEADROOM, self.capacity * 3 // 2)
        old_block, old_positions = self._block, self._positions
        self._block = old_block.new_empty((*old_block.shape[:3], capacity, old_block.shape[4]))
        self._positions = old_positions.new_empty(capacity)
        self._block[:, :, :, : self.num_slots].copy_(old_block[:, :, :, : self.num_slots])
        self._positions[: self.num_slots].copy_(old_positions[: self.num_slots])

    @torch.inference_mode()
    def bring(self, wanted: Sequence[Placed], room: int = 0) -> int:
        """Hold exactly `wanted`, in this order, and nothing after it; the tokens copied.

        The longest prefix of `wanted` that lies here already is kept. `room` is the number of
        tokens that will be appended: memory for all is taken at once.
        """
        kept = 0
        for have, want in zip(self._placed, wanted, strict=False):
            if have != want:
                break
            kept += 1
        del self._placed[kept:]
        self.num_slots = sum(placed.num_tokens for placed in self._placed)
        missing = wanted[kept:]
        copied = sum(placed.num_tokens for placed in missing)
        self.reserve(copied + room)
        for placed in missing:
            self._copy(placed)
        return copied

    def _copy(self, placed: Placed) -> None:
        """One copy per segment; keys turned for another origin are turned from the stored ones."""
        segment = placed.tokens
        start, stop = self.num_slots, self.num_slots + segment.num_tokens
        distance = placed.origin - segment.origin
        if self._is_bound and distance:
            raise ValueError("keys cannot be moved: the model adds learned positions to its tokens")
        self._block[:, :, :, start:stop].copy_(segment.block)
        if self.rope is not None and distance:
            self._block[:, 0, :, start:stop] = self.rope.turn(segment.block[:, 0], distance)
        self._positions[start:stop] = segment.offsets + placed.origin
        self._placed.append(placed)
        self.num_slots = stop

    @torch.inference_mode()
    def append(self, positions: Tensor) -> tuple[int, int]:
        """Take slots [start, stop) for new tokens at `positions` (n,); their states are to come."""
        self.reserve(len(positions))
        start, stop = self.num_slots, self.num_slots + len(positions)
        self._positions[start:stop] = positions
        self.num_slots = stop
        return start, stop

    def truncate(self, num_slots: int) -> None:
        """Forget the slots from `num_slots` on, which must not cut a placed segment."""
        placed = sum(p.num_tokens for p in self._placed)
        if not placed <= num_slots <= self.num_slots:
            raise ValueError(f"cannot keep {num_slots} of {self.num_slots} slots, {placed} placed")
        self.num_slots = num_slots

    def segment(self, start: int, stop: int) -> KVSegment:
        """A copy of the slots [start, stop) that outlives this buffer."""
        positions = self._positions[start:stop]
        origin = int(positions[0])
        block = self._block[:, :, :, start:stop].clone(memory_format=torch.contiguous_format)
        return KVSegment(block, positions - origin, origin)
