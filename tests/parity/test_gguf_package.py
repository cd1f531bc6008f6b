"""The real GGUF file of SmolLM2, 98 MB, read by ours and by the `gguf` package."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from minillm.gguf import GGUFFile

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the package's own, about numpy
]


@pytest.fixture
def path(folder: Path) -> Path:
    return folder.with_suffix(".gguf")


def test_every_tensor_is_the_packages_bit_for_bit(path: Path) -> None:
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with GGUFFile.open(path) as file:
        assert file.tensors.keys() == theirs.keys()
        for name, tensor in theirs.items():
            expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            found = file.load(name)
            assert np.array_equal(found.view(np.uint32), expected.view(np.uint32)), name


def seconds(run: Callable[[], object], repeats: int = 7) -> float:
    """The median of some, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def test_it_opens_ten_times_faster_than_with_the_package(path: Path) -> None:
    ours = seconds(lambda: GGUFFile.open(path).close())
    theirs = seconds(lambda: gguf.GGUFReader(path), repeats=3)
    size = path.stat().st_size / 1e6
    print(f"\nopening {size:.0f} MB: {ours:.3f} s, the gguf package {theirs:.2f} s: ", end="")
    print(f"{theirs / ours:.0f} times faster (at least 10)")
    assert theirs > 10 * ours
