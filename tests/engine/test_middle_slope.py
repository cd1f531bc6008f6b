"""What the linter takes for ALiBi's middle slope, against the slopes of the runtime."""

from __future__ import annotations

import pytest

from minillm.alibi import slopes
from pml.lint import middle_slope


@pytest.mark.parametrize(("heads", "max_bias"), [(4, 8.0), (32, 8.0), (16, 2.0)])
def test_the_middle_slope_stands_in_the_middle_of_the_model_s(heads: int, max_bias: float) -> None:
    every = sorted(slopes(heads, max_bias).tolist())
    assert every[heads // 2 - 1] <= middle_slope(max_bias) <= every[heads // 2]
