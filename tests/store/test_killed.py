"""Processes that share a folder, some of them killed at any moment."""

from __future__ import annotations

import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest
from store_worker import NUM_STATES, work
from stored_states import key_of, same, segment_of

from pml.store import open_store

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["pml.store"])  # and torch with it: once, not for each


class Worker:
    """A process that works on the store in `folder`, and what it has told."""

    def __init__(self, folder: Path, seed: int, count: int) -> None:
        self._log = folder.parent / f"{folder.name}-{seed}.log"
        self._process = PROCESSES.Process(target=work, args=(folder, seed, count, self._log))
        self._process.start()

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self._log.read_text().splitlines()]

    def wait_for_a_line(self) -> None:
        while self._process.is_alive() and not self._log.exists():
            time.sleep(0.001)

    def kill(self) -> list[list[str]]:
        self._process.kill()
        self._process.join()
        return self.lines()

    def join(self) -> list[list[str]]:
        self._process.join()
        assert self._process.exitcode == 0
        return self.lines()


def check(folder: Path, stored: set[int]) -> None:
    """Reopened: what was acknowledged is there, and what is there is right."""
    began = time.process_time()
    store = open_store(folder)
    assert time.process_time() - began < 1
    for number in range(NUM_STATES):
        found = store.get(key_of(number))
        assert found is None or same(found, segment_of(key_of(number)))
        assert found is not None or number not in stored, f"{number} was acknowledged and is lost"
    assert store.counts().damaged["disk"] == 0
    store.close()


@pytest.mark.parametrize(
    "kills", [20, pytest.param(1000, marks=pytest.mark.soak)], ids=["some", "many"]
)
def test_a_kill_loses_nothing_acknowledged(in_memory: Path, kills: int) -> None:
    """Catches an index that is ahead of the files, a file that is seen before it is whole."""
    random, stored = Random(kills), set[int]()
    folder = in_memory / "store"
    for round_ in range(kills):
        if len(stored) > NUM_STATES * 0.8:
            stored, folder = set(), in_memory / f"store{round_}"
        worker = Worker(folder, round_, 100_000)
        worker.wait_for_a_line()
        time.sleep(random.expovariate(50))
        stored |= {int(number) for what, number in worker.kill() if what == "stored"}
        check(folder, stored)


def test_two_processes_share_a_folder_while_one_is_killed(in_memory: Path) -> None:
    """1,000 mixed operations each; the one that is killed is started again until it is through.

    Nothing is encoded twice but what a killed process had not finished."""
    random, said = Random(2), list[list[str]]()
    folder = in_memory / "store"
    steady = Worker(folder, 1, 1000)
    for seed in range(100, 104):
        mortal = Worker(folder, seed, 1000)
        mortal.wait_for_a_line()
        time.sleep(random.expovariate(20))
        said += mortal.kill()
    said += Worker(folder, 200, 1000).join() + steady.join()
    encoded = Counter(number for what, number in said if what == "encoding")
    stored = Counter(number for what, number in said if what == "stored")
    assert set(stored.values()) == {1}
    assert sum(encoded.values()) - len(encoded) <= 4
    check(folder, {int(number) for number in stored})
