"""What a process does that uses a store, and is killed at it.

It appends a line to a log for each state that it encodes, for each that `put` has acknowledged,
and for each that it is about to remove. Processes may share a log: what one of them tells while it
holds a claim stands there before what the next one tells.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from unittest.mock import patch

import torch
from stored_states import key_of, same, segment_of

from pml.store import SegmentKey, open_store
from pml.store.disk import DiskTier
from pml.store.upkeep import collect, verify

NUM_STATES = 60
KEYS = [key_of(number) for number in range(NUM_STATES)]


def obtain_and_prefetch(folder: Path, name: str, seed: int, count: int, log: Path) -> None:
    worker = Worker(folder, name, seed, log)
    worker.work(count, {worker.obtain: 10, worker.prefetch: 1})


def use_and_look_after(folder: Path, name: str, seed: int, count: int, log: Path) -> None:
    worker = Worker(folder, name, seed, log)
    upkeep = {worker.pin: 1, worker.remove: 2, worker.collect: 1, worker.verify: 1}
    worker.work(count, {worker.obtain: 20, worker.prefetch: 1, **upkeep})


class Worker:
    def __init__(self, folder: Path, name: str, seed: int, log: Path) -> None:
        torch.set_num_threads(1)
        self._random, self._name = Random(seed), name
        self._lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._store = open_store(folder, memory=2_000)
        disk = self._store.tiers[-1]
        assert isinstance(disk, DiskTier)
        self._folder = disk.folder
        self._remove = disk.folder.remove
        patch.object(disk.folder, "remove", self._told_and_removed).start()

    def work(self, count: int, kinds: dict[Callable[[], None], int]) -> None:
        for kind in self._random.choices([*kinds], [*kinds.values()], k=count):
            kind()
        assert not any(self._store.counts().damaged.values())
        assert not any(self._store.counts().failures.values())
        self._store.close()

    def obtain(self) -> None:
        """A state; the answer is the same whoever has encoded it, and when."""
        number = self._random.randrange(NUM_STATES)
        key, store = KEYS[number], self._store
        found = store.get(key)
        while found is None:
            if store.claim(key):
                found = store.get(key)
                if found is None:
                    self._tell("encoding", number)
                    found = store.put(key, segment_of(key))
                    self._tell("stored", number)
                store.release(key)
            else:
                time.sleep(0.001)
                found = store.get(key)
        assert same(found, segment_of(key)), number

    def prefetch(self) -> None:
        self._store.prefetch(self._random.choices(KEYS, k=3))

    def pin(self) -> None:
        self._store.pin(KEYS[self._random.randrange(3)], self._random.random() < 0.5)

    def remove(self) -> None:
        self._store.remove(self._random.choice(KEYS))

    def collect(self) -> None:
        collect(self._folder, max_bytes=self._random.randrange(20_000, 40_000))

    def verify(self) -> None:
        assert verify(self._folder).damaged == 0

    def _told_and_removed(self, keys: Iterable[SegmentKey]) -> None:
        """In place of what removes states from the folder, for whatever reason."""
        for key in (keys := [*keys]):
            self._tell("removing", KEYS.index(key))
        self._remove(keys)

    def _tell(self, what: str, number: int) -> None:
        os.write(self._lines, f"{what} {number} {self._name}\n".encode())
