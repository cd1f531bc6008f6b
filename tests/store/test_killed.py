"""Processes that share a folder, some of them killed at any moment."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest
from store_worker import NUM_STATES, obtain_and_prefetch, use_and_look_after
from stored_states import key_of, same, segment_of

from pml.store import open_store

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["pml.store"])  # and torch with it: once, not for each


@dataclass(frozen=True)
class Line:
    """What the worker of that name has told of a state."""

    what: str
    number: int
    name: str


def read(log: Path) -> list[Line]:
    lines = (line.split() for line in log.read_text().splitlines()) if log.exists() else ()
    return [Line(what, int(number), name) for what, number, name in lines]


def started(work: Callable[..., None], *arguments: object) -> BaseProcess:
    process = PROCESSES.Process(target=work, args=arguments)
    process.start()
    return process


def wait_for_a_line_of(process: BaseProcess, name: str, log: Path) -> None:
    while process.is_alive() and not any(line.name == name for line in read(log)):
        time.sleep(0.001)


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
    folder, log = in_memory / "store", in_memory / "log"
    for round_ in range(kills):
        if len(stored) > NUM_STATES * 0.8:
            stored, folder = set(), in_memory / f"store{round_}"
        log.unlink(missing_ok=True)
        worker = started(obtain_and_prefetch, folder, "it", round_, 100_000, log)
        wait_for_a_line_of(worker, "it", log)
        time.sleep(random.expovariate(50))
        worker.kill()
        worker.join()
        stored |= {line.number for line in read(log) if line.what == "stored"}
        check(folder, stored)


@pytest.mark.parametrize(
    ("count", "kills"),
    [(100, 4), pytest.param(1000, 12, marks=pytest.mark.soak)],
    ids=["some", "many"],
)
def test_two_processes_share_a_folder_while_one_is_killed(
    in_memory: Path, count: int, kills: int
) -> None:
    """Mixed operations, `count` for each; the one that is killed is started again until it is
    through. No error, and nothing is encoded that is there or that the other one is encoding."""
    random, folder, log = Random(2), in_memory / "store", in_memory / "log"
    steady = started(use_and_look_after, folder, "steady", 1, count, log)
    for seed in range(kills):
        name = f"mortal{seed}"
        mortal = started(use_and_look_after, folder, name, 100 + seed, 100 * count, log)
        wait_for_a_line_of(mortal, name, log)
        time.sleep(random.expovariate(20))
        mortal.kill()
        mortal.join()
    last = started(use_and_look_after, folder, "last", 99, count, log)
    for worker in (steady, last):
        worker.join()
        assert worker.exitcode == 0
    check(folder, check_log(read(log)))


def check_log(lines: list[Line]) -> set[int]:
    """No two encode the same at a time, and nobody what is there. What must be there afterwards."""
    encoding = dict[int, Line]()
    stored, removed = Counter[int](), Counter[int]()
    last = {line.name: line for line in lines}
    for line in lines:
        if line.what == "encoding":
            other = encoding.get(line.number)
            assert other is None or last[other.name] is other, f"{other} is at it: {line}"
            encoding[line.number] = line
        elif line.what == "stored":
            assert encoding.pop(line.number).name == line.name
            stored[line.number] += 1
        else:
            removed[line.number] += 1
    for number in stored:
        assert stored[number] <= 1 + removed[number], f"{number} was there"
    assert sum(removed.values()) > 0
    return {number for number in stored if not removed[number]}
