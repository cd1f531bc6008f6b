"""Who sees whom: by positions, whatever the slots; the columns that all see left out."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from minillm.visibility import by_matrix, by_position


def test_keys_before_all_queries_are_free() -> None:
    seen = by_position(torch.tensor([5, 6]), torch.tensor([0, 1, 2, 5, 6]))
    assert (seen.num_keys, seen.num_free) == (5, 4)
    assert seen.mask.tolist() == [[False], [True]]
    assert seen.full().tolist() == [[True, True, True, True, False], [True] * 5]


def test_a_single_step_needs_no_mask() -> None:
    seen = by_position(torch.tensor([9]), torch.tensor([3, 0, 9]))
    assert (seen.num_free, seen.mask.shape) == (3, (1, 0))
    assert seen.full().tolist() == [[True, True, True]]


def test_a_key_at_a_later_position_in_an_early_slot_is_hidden() -> None:
    seen = by_position(torch.tensor([4]), torch.tensor([7, 0, 4]))
    assert seen.num_free == 0
    assert seen.full().tolist() == [[False, True, True]]


def test_a_matrix_is_taken_as_it_is() -> None:
    mask = torch.tensor([[True, False, True]])
    seen = by_matrix(mask)
    assert (seen.num_keys, seen.num_free) == (3, 0)
    assert torch.equal(seen.full(), mask)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20, unique=True), st.data())
def test_by_position_is_the_comparison_of_positions(keys: list[int], data: st.DataObject) -> None:
    queries = data.draw(st.lists(st.sampled_from(keys), min_size=1, unique=True))
    seen = by_position(torch.tensor(queries), torch.tensor(keys))
    assert seen.full().tolist() == [[key <= query for key in keys] for query in queries]
