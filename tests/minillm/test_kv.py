"""Segments and the buffer: what lies where, at which position, and what is copied."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from strategies import ModelShape
from torch import Tensor

from minillm.config import ModelConfig
from minillm.kv import HEADROOM, QUERY, STRETCH, KVCache, KVSegment, Placed, Stretch
from minillm.rope import Rope, rope_for

CONFIG = ModelShape(2, 2, 1, 4, True, False, "llama", 0).config()
ALIBI = replace(CONFIG, position_scheme="alibi")


def segment(length: int, origin: int, seed: int = 0) -> KVSegment:
    random = torch.Generator().manual_seed(seed)
    block = torch.randn((2, 2, 2, length, 4), generator=random, dtype=torch.float64)
    return KVSegment(block, torch.arange(length), origin)


def new_cache(config: ModelConfig = CONFIG, capacity: int = 0) -> KVCache:
    return KVCache(config, torch.float64, capacity=capacity)


def held(cache: KVCache) -> Tensor:
    """(L, 2, K, S, D)"""
    layers = range(2)
    return torch.stack([torch.stack((cache.keys(i), cache.values(i))) for i in layers])


def append(cache: KVCache, positions: Tensor) -> None:
    """As a forward does: memory that was never written can hold NaN, which equals nothing."""
    start, stop = cache.append(positions)
    with torch.inference_mode():
        for states in cache.states(start, stop):
            for of_layer in states:
                of_layer.copy_(torch.randn_like(of_layer))


def test_a_segment_knows_its_size_and_shares_its_parts() -> None:
    whole = segment(5, 7)
    assert (whole.num_tokens, whole.num_bytes) == (5, 2 * 2 * 2 * 5 * 4 * 8)
    assert whole.part(0, 5) is whole
    part = whole.part(1, 4)
    assert torch.equal(part.block, whole.block[:, :, :, 1:4])
    assert part.block.untyped_storage().data_ptr() == whole.block.untyped_storage().data_ptr()
    assert (part.offsets.tolist(), part.origin) == ([1, 2, 3], 7)


def test_parts_stand_where_they_stood_in_the_whole() -> None:
    whole, cache = segment(5, 7), new_cache()
    cache.bring([Placed(whole.part(1, 4), 7)])
    assert cache.positions.tolist() == [8, 9, 10]


def test_some_tokens_of_a_segment_can_be_placed() -> None:
    """As when the last one is computed afresh. The whole segment after it is not the same."""
    whole, cache = segment(5, 7), new_cache()
    assert Placed(whole, 7).num_tokens == 5
    most = Placed(whole, 7, 0, 4)
    assert most.num_tokens == most.tokens.num_tokens == 4
    assert cache.bring([most, Placed(whole, 60, 3)]) == 6
    assert cache.positions.tolist() == [7, 8, 9, 10, 63, 64]
    assert torch.equal(held(cache)[:, :, :, :4], whole.block[:, :, :, :4])
    assert cache.bring([Placed(whole, 7, 0, 4)]) == 0
    cache.truncate(4)
    assert cache.bring([Placed(whole, 7)]) == 5


def test_segments_are_brought_in_the_order_given() -> None:
    first, second, cache = segment(3, 10, 1), segment(2, 0, 2), new_cache()
    assert cache.bring([Placed(first, 10), Placed(second, 0)]) == 5
    assert cache.positions.tolist() == [10, 11, 12, 0, 1]
    assert torch.equal(held(cache), torch.cat((first.block, second.block), dim=3))


def test_a_common_beginning_is_kept_and_the_rest_replaced() -> None:
    one, two, three = segment(3, 0, 1), segment(2, 3, 2), segment(4, 3, 3)
    cache = new_cache()
    assert cache.bring([Placed(one, 0), Placed(two, 3)]) == 5
    cache.append(torch.tensor([5, 6]))
    assert cache.bring([Placed(one, 0), Placed(three, 3)]) == 4
    assert cache.positions.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert torch.equal(held(cache), torch.cat((one.block, three.block), dim=3))
    assert cache.bring([Placed(one, 0), Placed(three, 3)]) == 0
    assert cache.bring([Placed(one, 0)]) == 0
    assert cache.num_slots == 3
    cache.clear()
    assert cache.num_slots == 0
    assert cache.bring([Placed(one, 0)]) == 3


def test_the_same_segment_elsewhere_is_not_kept() -> None:
    stored, cache = segment(3, 0), new_cache()
    cache.bring([Placed(stored, 0)])
    assert cache.bring([Placed(stored, 20)]) == 3
    assert cache.positions.tolist() == [20, 21, 22]


def test_moved_keys_are_turned_and_values_are_not() -> None:
    stored, cache = segment(3, 5), new_cache()
    cache.bring([Placed(stored, 50)])
    rope = rope_for(CONFIG, torch.device("cpu"))
    assert torch.equal(held(cache)[:, 0], rope.turn(stored.block[:, 0], 45))
    assert torch.equal(held(cache)[:, 1], stored.block[:, 1])
    cache.bring([Placed(stored, 5)])
    assert torch.equal(held(cache), stored.block), "turned from what was turned already"


def lying(cache: KVCache) -> Tensor:
    """(L, K, S, D), the keys as they lie in the buffer."""
    return torch.stack(cache.states(0, cache.num_slots)[0])


def test_keys_lie_as_stored_until_turned_queries_have_cost_as_much_as_turning_them() -> None:
    stored, cache = segment(10_000, 0), new_cache()
    cache.bring([Placed(stored, 50)])
    right = held(cache)[:, 0]
    assert cache.stretches() == [Stretch(0, 10_000, 50)]
    limit = 10_000 * 2 * 4  # tokens, heads and channels
    price = STRETCH + QUERY * 1 * 2 * 4
    assert price < limit < 3 * price
    for spent in range(1, 5):
        cache.get_ready(1, heads=2)
        is_turned = spent * price >= limit
        assert (cache.stretches() == [Stretch(0, 10_000, 0)]) == is_turned
        assert torch.equal(lying(cache), right if is_turned else stored.block[:, 0])
        assert torch.equal(held(cache)[:, 0], right)


def test_many_queries_do_not_wait() -> None:
    stored, cache = segment(1000, 0), new_cache()
    cache.bring([Placed(stored, 50)])
    cache.get_ready(10_000, heads=2)
    assert cache.stretches() == [Stretch(0, 1000, 0)]


def test_neighbours_that_lie_alike_are_one_stretch() -> None:
    one, two, three = segment(3, 0, 1), segment(2, 10, 2), segment(4, 0, 3)
    cache = new_cache()
    cache.bring([Placed(one, 5), Placed(two, 15), Placed(three, 0)])
    cache.append(torch.tensor([30]))
    assert cache.stretches() == [Stretch(0, 5, 5), Stretch(5, 10, 0)]


def test_what_is_brought_behind_turned_keys_lies_as_stored() -> None:
    one, two = segment(3, 0, 1), segment(2, 0, 2)
    cache = new_cache()
    cache.bring([Placed(one, 5)])
    cache.get_ready(10_000, heads=2)
    cache.bring([Placed(one, 5), Placed(two, 9)])
    assert cache.stretches() == [Stretch(0, 3, 0), Stretch(3, 5, 9)]
    right = held(cache)
    assert torch.equal(cache.segment(2, 5).block, right[:, :, :, 2:]), "a segment is turned"
    assert cache.stretches() == [Stretch(0, 5, 0)]
    assert torch.equal(held(cache), right)


def test_keys_that_are_interrupted_while_they_are_turned_lie_as_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = segment(3, 0, 1), segment(2, 0, 2)
    cache = new_cache()
    cache.bring([Placed(one, 0), Placed(one, 5), Placed(two, 9)])
    right, turn = held(cache), Rope.turn

    def interrupted(rope: Rope, keys: Tensor, distance: int, out: Tensor | None = None) -> Tensor:
        turned = turn(rope, keys, distance, out)
        if distance == 9:
            raise KeyboardInterrupt
        return turned

    monkeypatch.setattr(Rope, "turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.get_ready(10_000, heads=2)
    monkeypatch.undo()
    assert cache.stretches() == [Stretch(0, 6, 0), Stretch(6, 8, 9)]
    assert torch.equal(held(cache), right)


def test_moved_a_thousand_times_is_moved_once() -> None:
    stored, cache, fresh = segment(3, 5), new_cache(), new_cache()
    for place in [*range(0, 5000, 5), 77]:
        cache.bring([Placed(stored, place)])
        cache.get_ready(10_000, heads=2)
    fresh.bring([Placed(stored, 77)])
    assert torch.equal(held(cache), held(fresh))
    assert cache.stretches() == [Stretch(0, 3, 0)]
    assert fresh.stretches() == [Stretch(0, 3, 72)]


def test_keys_with_learned_positions_are_not_moved() -> None:
    cache = new_cache(replace(CONFIG, position_scheme="learned"))
    cache.place([Placed(segment(3, 5), 5)])
    with pytest.raises(ValueError, match="keys cannot be moved"):
        cache.place([Placed(segment(3, 5), 8)])


def test_keys_without_rotation_are_never_turned() -> None:
    stored, cache = segment(3, 5), new_cache(ALIBI)
    assert cache.rope is None
    cache.bring([Placed(stored, 50)])
    assert torch.equal(held(cache), stored.block)
    assert cache.positions.tolist() == [50, 51, 52]


def test_growing_keeps_what_is_held() -> None:
    stored, cache = segment(4, 0), new_cache(capacity=4)
    cache.bring([Placed(stored, 0)])
    assert cache.capacity == 4
    cache.reserve(0)
    assert cache.capacity == 4
    cache.reserve(1)
    assert cache.capacity == 5 + HEADROOM
    cache.reserve(HEADROOM + 2)
    assert cache.capacity == max(6 + 2 * HEADROOM, (5 + HEADROOM) * 3 // 2)
    cache.reserve(cache.capacity - cache.num_slots)
    assert cache.positions.tolist() == [0, 1, 2, 3]
    assert torch.equal(held(cache), stored.block)


def test_room_for_what_follows_is_taken_at_once() -> None:
    stored, cache = segment(4, 0), new_cache()
    cache.bring([Placed(stored, 0)], room=1000)
    capacity = cache.capacity
    assert capacity >= 1004
    cache.append(torch.arange(1000))
    assert cache.capacity == capacity


def test_appended_tokens_follow_and_can_be_forgotten() -> None:
    stored, cache = segment(2, 0), new_cache()
    cache.bring([Placed(stored, 0)])
    assert cache.append(torch.tensor([2, 7, 8])) == (2, 5)
    numbers = torch.ones(2, 3, 4, dtype=torch.float64)
    with torch.inference_mode():  # as in a forward
        keys, values = cache.states(2, 5)
        for layer in range(2):
            keys[layer].copy_(numbers * layer)
            values[layer].copy_(-numbers)
    assert cache.positions.tolist() == [0, 1, 2, 7, 8]
    assert torch.equal(cache.keys(1)[:, 2:], numbers)
    assert torch.equal(cache.values(0)[:, 2:], -numbers)
    cache.truncate(3)
    assert cache.positions.tolist() == [0, 1, 2]
    cache.truncate(2)
    for wrong in (1, 3):
        with pytest.raises(ValueError, match=rf"cannot keep {wrong} of 2 slots, 2 placed"):
            cache.truncate(wrong)


def test_a_segment_taken_out_outlives_the_buffer() -> None:
    stored, cache = segment(4, 30), new_cache()
    cache.bring([Placed(stored, 30)])
    taken = cache.segment(1, 3)
    assert (taken.origin, taken.offsets.tolist()) == (31, [0, 1])
    cache.bring([Placed(segment(4, 0, 9), 0)])
    assert torch.equal(taken.block, stored.block[:, :, :, 1:3])
    assert taken.block.is_contiguous()


def test_segments_are_placed_behind_what_was_appended() -> None:
    one, two, cache = segment(3, 0, 1), segment(2, 0, 2), new_cache()
    cache.bring([Placed(one, 0)])
    cache.append(torch.tensor([3, 4]))
    assert cache.place([Placed(two, 5), Placed(two, 20)], room=100) == 4
    capacity = cache.capacity
    cache.append(torch.arange(7, 107))
    assert cache.capacity == capacity
    assert cache.positions[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 20, 21, 7]
    rope = rope_for(CONFIG, torch.device("cpu"))
    for start, distance in ((5, 5), (7, 20)):
        placed = held(cache)[:, :, :, start : start + 2]
        assert torch.equal(placed[:, 0], rope.turn(two.block[:, 0], distance))
        assert torch.equal(placed[:, 1], two.block[:, 1])


def test_stretches_lie_around_what_was_appended() -> None:
    one, two, cache = segment(3, 0, 1), segment(2, 0, 2), new_cache()
    cache.place([Placed(one, 4)])
    append(cache, torch.tensor([7, 8]))
    cache.place([Placed(two, 4)])
    assert cache.stretches() == [Stretch(0, 3, 4), Stretch(3, 5, 0), Stretch(5, 7, 4)]
    right = held(cache)
    cache.get_ready(10_000, heads=2)
    assert cache.stretches() == [Stretch(0, 7, 0)]
    assert torch.equal(lying(cache), right[:, 0])
    cache.place([Placed(one, 30)])
    assert cache.stretches() == [Stretch(0, 7, 0), Stretch(7, 10, 30)]
    assert torch.equal(held(cache)[:, :, :, :7], right)


def test_what_turned_queries_cost_is_counted_anew_when_the_keys_are_turned() -> None:
    stored, cache = segment(10_000, 0), new_cache()
    cache.bring([Placed(stored, 50)])
    cache.get_ready(10_000, heads=2)
    cache.place([Placed(stored, 20_000)])
    cache.get_ready(1, heads=2)
    assert cache.stretches() == [Stretch(0, 10_000, 0), Stretch(10_000, 20_000, 20_000)]


def test_to_truncate_forgets_whole_segments_only() -> None:
    one, two, cache = segment(3, 0, 1), segment(2, 0, 2), new_cache()
    cache.bring([Placed(one, 0)])
    cache.append(torch.tensor([3, 4]))
    cache.place([Placed(two, 5)])
    cache.get_ready(10_000, heads=2)
    with pytest.raises(ValueError, match="cannot keep 6 of 7 slots, 7 placed"):
        cache.truncate(6)
    cache.truncate(5)
    assert cache.positions.tolist() == [0, 1, 2, 3, 4]
    cache.place([Placed(two, 9)])
    assert cache.stretches() == [Stretch(0, 5, 0), Stretch(5, 7, 9)], "turned like the one before"
    cache.truncate(4)
    with pytest.raises(ValueError, match="cannot keep 2 of 4 slots, 3 placed"):
        cache.truncate(2)
    cache.truncate(0)
    assert cache.stretches() == []


def test_what_stands_behind_appended_tokens_is_not_kept() -> None:
    one, two, cache = segment(3, 0, 1), segment(2, 3, 2), new_cache()
    cache.bring([Placed(one, 0)])
    cache.append(torch.tensor([3, 4]))
    cache.place([Placed(two, 5)])
    assert cache.bring([Placed(one, 0), Placed(two, 5)]) == 2
    assert cache.positions.tolist() == [0, 1, 2, 5, 6]


def test_a_fork_goes_on_by_itself() -> None:
    one, two, cache = segment(3, 0, 1), segment(2, 0, 2), new_cache()
    cache.bring([Placed(one, 10)])
    append(cache, torch.tensor([13, 14]))
    right, fork = held(cache), cache.fork(4)
    cache.get_ready(10_000, heads=2)
    assert torch.equal(held(cache), right)
    assert torch.equal(held(fork), right[:, :, :, :4])
    assert fork.positions.tolist() == [10, 11, 12, 13]
    for other, position in ((cache, 15), (fork, 14)):
        before = held(other)
        other.place([Placed(two, position)])
        other.get_ready(10_000, heads=2)
        with torch.inference_mode():
            other.states(3, 4)[1][0].fill_(position)
        assert torch.equal(held(other)[:, 0, :, : before.shape[3]], before[:, 0])
    assert cache.positions.tolist() == [10, 11, 12, 13, 14, 15, 16]
    assert fork.positions.tolist() == [10, 11, 12, 13, 14, 15]
    assert (float(cache.values(0)[0, 3, 0]), float(fork.values(0)[0, 3, 0])) == (15, 14)
