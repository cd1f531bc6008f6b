"""Linear biases: the published slopes, and a bias by key position."""

from __future__ import annotations

import pytest
import torch

from minillm.alibi import bias, slopes


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16])
def test_slopes_of_a_power_of_two_are_a_geometric_row(heads: int) -> None:
    expected = [2 ** (-8 * (i + 1) / heads) for i in range(heads)]
    assert slopes(heads).tolist() == pytest.approx(expected, rel=1e-14)
    assert slopes(heads).dtype == torch.float64


@pytest.mark.parametrize(("heads", "power"), [(3, 4), (5, 8), (12, 16), (71, 128)])
def test_other_numbers_of_heads_take_every_second_slope_first(heads: int, power: int) -> None:
    """Half as many heads have the slopes of their own power of two, then come those between."""
    of_power = slopes(power).tolist()
    expected = [*of_power[1::2], *of_power[0::2]][:heads]
    assert slopes(heads).tolist() == expected
    assert slopes(heads)[: power // 2].tolist() == pytest.approx(slopes(power // 2).tolist())


def test_max_bias_sets_the_steepness() -> None:
    assert slopes(4, max_bias=4.0).tolist() == [0.5, 0.25, 0.125, 0.0625]


def test_bias_falls_with_the_distance_of_a_key_wherever_it_lies() -> None:
    row = bias(slopes(2), torch.tensor([7, 0, 3, 9]), torch.float32)
    assert row.dtype == torch.float32
    assert row.shape == (2, 4)
    assert row[0].tolist() == [-2 / 16, -9 / 16, -6 / 16, 0]
    assert row[1].tolist() == [-2 / 256, -9 / 256, -6 / 256, 0]


def test_bias_differs_by_a_constant_when_all_moves() -> None:
    """What drops out of a softmax: the reason why ALiBi's keys hold no position."""
    positions = torch.tensor([4, 1, 8])
    here = bias(slopes(3), positions, torch.float64)
    assert torch.equal(here, bias(slopes(3), positions + 1000, torch.float64))
