"""How fast a model is here, in prefill and decode, and how much memory it takes."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from minillm.generate import prefill
from minillm.model import ForwardPlan, Run, Transformer

DECODE_REPEATS = 5  # for each of a prefill's: a step is short


@dataclass(frozen=True)
class Speed:
    """Seconds, medians: of a prefill of `tokens`, and of one token after so many."""

    tokens: int
    prefill: float
    decode: float


def peak_memory() -> int:
    """Bytes that this process had in memory at most, what it has mapped from files among them."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux, where a child's `ru_maxrss` begins with its parent's
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def faster_dtype() -> torch.dtype:
    """bfloat16, or float32 where this processor multiplies matrices faster in it.

    Without instructions of its own for it (AVX-512 BF16, AMX) bfloat16 takes ten times as long.
    """
    took = {}
    for dtype in (torch.bfloat16, torch.float32):
        a, b = torch.randn(128, 576).to(dtype), torch.randn(576, 1536).to(dtype)
        took[dtype] = median(partial(torch.matmul, a, b), 7)
    return min(took, key=took.__getitem__)


def median(run: Callable[[], object], repeats: int) -> float:
    """Seconds, the median of `repeats` after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Bench:
    """A model, a cache for `longest` tokens and one more, and tokens drawn at random."""

    def __init__(self, model: Transformer, longest: int, repeats: int) -> None:
        self.model, self.repeats = model, repeats
        generator = torch.Generator().manual_seed(0)
        size = (longest,)
        self.tokens = torch.randint(model.config.vocab_size, size, generator=generator).tolist()
        self.cache = model.new_cache(longest + 1)

    def speed(self, length: int) -> Speed:
        return Speed(length, self.prefill(length), self.decode(length))

    def prefill(self, length: int) -> float:
        """Seconds of a full prefill."""

        def run() -> None:
            self.fill(length)
            self._wait()

        return median(run, self.repeats)

    def decode(self, length: int) -> float:
        """Seconds of one token with `length` in the cache."""
        self.fill(length)
        token = torch.tensor([7], device=self.model.device)
        position = torch.tensor([length], device=self.model.device)

        def run() -> None:
            self.cache.truncate(length)
            self.model(token, position, ForwardPlan([Run(self.cache, 1)], [0]))
            self._wait()

        return median(run, DECODE_REPEATS * self.repeats)

    def fill(self, length: int) -> None:
        self.cache.clear()
        prefill(self.model, self.cache, self.tokens[:length], range(length))

    def _wait(self) -> None:
        """A GPU works on while Python goes on."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
