"""Processes that share a folder, some of them killed at any moment."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from store_worker import NUM_STATES
from stored_states import key_of, same, segment_of

from pml.store import open_store

WORKER = Path(__file__).with_name("store_worker.py")


def started(folder: Path, seed: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(folder), str(seed), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> list[list[str]]:
    """What a process has said, and nothing that it could not finish saying."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode in (0, -9), errors
    return [line.split() for line in out.splitlines(keepends=True) if line.endswith("\n")]


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
        process = started(folder, round_, 100_000)
        lines = iter(process.stdout or ())
        first = next(lines, "").split()  # it has begun to write
        time.sleep(random.expovariate(50))
        process.kill()
        said = [first, *told(process)]
        stored |= {int(line[1]) for line in said if line[:1] == ["stored"]}
        check(folder, stored)


def test_two_processes_share_a_folder_while_one_is_killed(in_memory: Path) -> None:
    """1,000 mixed operations each; the one that is killed is started again until it is through.

    Nothing is encoded twice but what a killed process had not finished."""
    random = Random(2)
    steady, said = started(in_memory, 1, 1000), list[list[str]]()
    kills = 0
    while kills < 4:
        mortal = started(in_memory, 100 + kills, 1000)
        time.sleep(random.uniform(0.5, 4))
        mortal.kill()
        said += told(mortal)
        kills += 1
    last = started(in_memory, 200, 1000)
    said += told(last) + told(steady)
    assert (steady.returncode, last.returncode) == (0, 0)
    encoded = Counter(line[1] for line in said if line[0] == "encoding")
    finished = Counter(line[1] for line in said if line[0] == "stored")
    assert all(count == 1 for count in finished.values())
    assert sum(encoded.values()) - len(encoded) <= kills
    check(in_memory, {int(number) for number in finished})
