"""States without a model: keys and numbers out of a seed, the naive twin of the store, and a folder
for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch

from minillm.kv import KVSegment
from pml.context import State
from pml.store import SegmentKey, segment_key


def key_of(seed: int, *, namespace: str = "", dtype: str = "float32") -> SegmentKey:
    """Of one of many states; every seed has its own."""
    random = Random(seed)
    tokens = [seed, *(random.randrange(1000) for _ in range(random.randrange(1, 8)))]
    state = State.of(tokens, random.randrange(50), f"/{seed}")
    return segment_key("model", "tokenizer", dtype, "native", namespace, state)


def segment_of(key: SegmentKey, version: int = 0) -> KVSegment:
    """(L=2, 2, K=1, n, D=4), the same for the same key and version."""
    seed = int(key.digest[:12], 16) + version
    block = torch.randn(2, 2, 1, len(key.tokens), 4, generator=torch.Generator().manual_seed(seed))
    return KVSegment(block, torch.arange(len(key.tokens)), key.origin)


def same(segment: KVSegment | None, expected: KVSegment) -> bool:
    return (
        segment is not None
        and segment.origin == expected.origin
        and torch.equal(segment.block, expected.block)
        and torch.equal(segment.offsets, expected.offsets)
    )


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Where there is such a thing: a slow disk would only make each test wait for it."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@dataclass
class NaiveStore:
    """A dictionary. `seconds` to live, None for ever."""

    seconds: float | None = None
    now: float = 0.0
    stored: dict[SegmentKey, tuple[KVSegment, float]] = field(default_factory=dict)

    def put(self, key: SegmentKey, segment: KVSegment) -> None:
        ends = float("inf") if self.seconds is None else self.now + self.seconds
        block = segment.block.clone()
        self.stored[key] = KVSegment(block, segment.offsets.clone(), segment.origin), ends

    def get(self, key: SegmentKey) -> KVSegment | None:
        segment, ends = self.stored.get(key, (None, 0.0))
        return segment if self.now < ends else None

    def remove(self, key: SegmentKey) -> None:
        self.stored.pop(key, None)
