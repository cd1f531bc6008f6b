"""Where keys and values live: immutable segments, and the warm buffer they are brought into.

A **position** is what the model sees; a **slot** is where memory is. Only `KVCache` knows slots.

    segment A (origin 0)   segment B (origin 40)      fresh tokens
    positions 0 1 2        positions 40 41            positions 3 42 43
    slots     0 1 2                  3  4                       5  6  7
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from minillm.config import ModelConfig
from minillm.rope import rope_for
from minillm.segments import KVSegment, Placed, Stretch

__all__ = ["KVCache", "KVSegment", "Placed", "Stretch"]

STRETCH, QUERY = 40_000.0, 3.0
"""What it costs a forward to turn queries back, in the time of turning one number of the keys: for
each stretch, and for each number of a query.

Measured with SmolLM2 in float32, 2,000 moved tokens in 20 stretches, one core of a Zen 3: to turn
the keys takes 17 ms; with turned queries a forward of 1, 8, 32, 128 tokens takes 36, 46, 66, 245 ms
more, which is 41,000, 53,000, 77,000, 284,000 for a stretch.
"""

HEADROOM = 256
"""Slots to spare when a buffer grows."""


class KVCache:
    """The keys and values that one sequence sees, slot by slot, in one buffer (L, 2, K, cap, D).

    Placed segments come first, then what forwards append; and so on, where `place` adds segments
    behind that. The buffer stays warm from request to request (fresh memory costs ten times as much
    to write as memory that is already mapped), and `bring` keeps the beginning that is the same
    and copies the rest.
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
        self._starts: list[int] = []  # the first slot of each placed segment
        self._num_turned, self._spent = 0, 0.0
        self.num_slots = 0

    @property
    def capacity(self) -> int:
        return self._block.shape[3]

    @property
    def positions(self) -> Tensor:
        """Positions (S,) of the slots in use."""
        return self._positions[: self.num_slots]

    def keys(self, layer: int) -> Tensor:
        """(K, S, D), as they are at their positions, wherever they still lie as stored."""
        keys = self._block[layer, 0, :, : self.num_slots]
        if not any(stretch.distance for stretch in self.stretches()):
            return keys
        assert self.rope is not None
        parts = [(keys[:, s.start : s.stop], s.distance) for s in self.stretches()]
        return torch.cat([self.rope.turn(*part) if part[1] else part[0] for part in parts], dim=1)

    def values(self, layer: int) -> Tensor:
        """(K, S, D)"""
        return self._block[layer, 1, :, : self.num_slots]

    def states(self, start: int, stop: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Views of the keys and of the values (K, stop - start, D) of these slots, by layer.

        As they lie there: see `stretches`. They are for writing too, and good until the buffer
        grows.
        """
        keys, values = self._block[:, :, :, start:stop].unbind(1)
        return keys.unbind(), values.unbind()

    def stretches(self) -> list[Stretch]:
        """The slots in use, cut where keys lie turned in different ways."""
        found: list[Stretch] = []
        for index, (start, placed) in enumerate(zip(self._starts, self._placed, strict=True)):
            is_as_stored = index >= self._num_turned and self.rope is not None
            _extend(found, start, 0)
            _extend(found, start + placed.num_tokens, placed.distance if is_as_stored else 0)
        _extend(found, self.num_slots, 0)
        return found

    def get_ready(self, num_queries: int, heads: int) -> None:
        """Told by a forward that `num_queries` of `heads` heads each will look at this cache.

        Here it is decided how keys that stand elsewhere than they were stored meet their queries.
        Either the queries are turned back, for each stretch of such keys in each forward; or the
        keys are turned, once. What turned queries have cost so far is summed up, and when it comes
        to what turning the keys costs, they are turned. So a prompt's few fresh tokens need not
        wait for thousands of keys, its answer does not pay for ever, and in the worst case it costs
        twice the cheaper way. See `STRETCH` and `QUERY` for the prices.
        """
        moved = [s for s in self.stretches() if s.distance]
        if not moved:
            return
        _, _, kv_heads, _, head_dim = self._block.shape
        self._spent += len(moved) * (STRETCH + QUERY * num_queries * heads * head_dim)
        if self._spent >= sum(s.stop - s.start for s in moved) * kv_heads * head_dim:
            self._turn_keys()

    @torch.inference_mode()
    def _turn_keys(self) -> None:
        """Turn the keys that still lie as stored, from the stored ones, never from turned ones."""
        assert self.rope is not None
        for index, (start, placed) in enumerate(zip(self._starts, self._placed, strict=True)):
            if index >= self._num_turned and placed.distance:
                stop = start + placed.num_tokens
                lying, stored = self._block[:, 0, :, start:stop], placed.tokens.block[:, 0]
                try:
                    self.rope.turn(stored, placed.distance, lying)
                except BaseException:
                    lying.copy_(stored)
                    raise
            self._num_turned = max(self._num_turned, index + 1)
        self._spent = 0.0

    def clear(self) -> None:
        self.truncate(0)

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
        """Hold exactly `wanted`, in this order, and nothing after it. Returns how many were copied.

        The longest prefix of `wanted` that lies here already is kept. `room` is the number of
        tokens that will be appended: memory for all is taken at once.
        """
        kept = slots = 0
        for start, have, want in zip(self._starts, self._placed, wanted, strict=False):
            if have != want or start != slots:
                break
            kept, slots = kept + 1, slots + have.num_tokens
        self.truncate(slots)
        self._spent = 0.0
        return self.place(wanted[kept:], room)

    @torch.inference_mode()
    def place(self, more: Sequence[Placed], room: int = 0) -> int:
        """Hold `more` behind all that is held. `room` and what it returns are as for `bring`."""
        copied = sum(placed.num_tokens for placed in more)
        self.reserve(copied + room)
        for placed in more:
            self._copy(placed)
        return copied

    def _copy(self, placed: Placed) -> None:
        """One copy per segment, of the keys as they are stored."""
        segment = placed.tokens
        start, stop = self.num_slots, self.num_slots + segment.num_tokens
        if placed.distance and self._is_bound:
            raise ValueError("keys cannot be moved: the model adds learned positions to its tokens")
        if placed.distance and self.rope is not None:
            self.rope.check_movable()
        self._block[:, :, :, start:stop].copy_(segment.block)
        self._positions[start:stop] = segment.offsets + placed.origin
        self._placed.append(placed)
        self._starts.append(start)
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
        """Forget the slots from `num_slots` on, which must not cut a placed segment in two."""
        kept = bisect_left(self._starts, num_slots)
        end = self._starts[kept - 1] + self._placed[kept - 1].num_tokens if kept else 0
        if not end <= num_slots <= self.num_slots:
            raise ValueError(f"cannot keep {num_slots} of {self.num_slots} slots, {end} placed")
        del self._placed[kept:], self._starts[kept:]
        self._num_turned, self.num_slots = min(self._num_turned, kept), num_slots

    @torch.inference_mode()
    def fork(self, num_slots: int) -> KVCache:
        """A cache with memory of its own that holds the same up to slot `num_slots`."""
        other = copy(self)
        other._placed, other._starts = self._placed.copy(), self._starts.copy()
        other.truncate(num_slots)
        other._block = self._block[:, :, :, :num_slots]
        other._positions = self._positions[:num_slots]
        other.reserve(1)  # which moves it
        return other

    def segment(self, start: int, stop: int) -> KVSegment:
        """A copy of the slots [start, stop) that outlives this buffer."""
        if any(s.distance and s.start < stop and start < s.stop for s in self.stretches()):
            self._turn_keys()
        positions = self._positions[start:stop]
        origin = int(positions[0])
        block = self._block[:, :, :, start:stop].clone(memory_format=torch.contiguous_format)
        return KVSegment(block, positions - origin, origin)


def _extend(stretches: list[Stretch], stop: int, distance: int) -> None:
    """Append the slots up to `stop`, to the last stretch if their keys lie turned alike."""
    start = stretches[-1].stop if stretches else 0
    if start < stop and stretches and stretches[-1].distance == distance:
        start = stretches.pop().start
    if start < stop:
        stretches.append(Stretch(start, stop, distance))
