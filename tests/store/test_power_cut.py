"""Power cuts: a store's file operations are recorded, and it is opened on what a cut may leave.

Catches a file that is named before it is written out, an index that is ahead of the files, a
folder whose names were never synced, and a commit that does not wait for the disk.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from recorded_disk import ROOT, Change, Disk, Recorder, Rename, Sync
from stored_states import key_of, same, segment_of

from pml.store import ModuleStore, SegmentKey, StoreError, open_store
from pml.store.disk import DiskTier
from pml.store.recovery import INDEX
from pml.store.upkeep import collect, verify

KEYS = [key_of(seed) for seed in range(12)]
BUDGET = 9_000
"""Bytes on disk: about two thirds of the states fit."""

Versions = dict[SegmentKey, int]
Work = Callable[[Path, Random, int], Iterator[Versions]]


@dataclass(frozen=True)
class Recorded:
    """Events, and what was acknowledged at some of them: which version of which states is there."""

    events: list[Change | Sync]
    acknowledged: list[tuple[int, Versions]]


def worked(folder: Path, random: Random, count: int) -> Iterator[Versions]:
    """What lies on disk after each operation."""
    latest: Versions = {}
    store = open_store(folder, disk=BUDGET)
    for _ in range(count):
        key, kind = random.choice(KEYS), random.random()
        if kind < 0.6:
            latest[key] = latest.get(key, 0) + 1
            store.put(key, segment_of(key, latest[key]), 0.01)
        elif kind < 0.7:
            store.get(key)
        elif kind < 0.8:
            store.remove(key)
        elif kind < 0.87:
            store.pin(KEYS[0], random.random() < 0.5)
        elif kind < 0.94:
            collect(disk_of(store).folder, max_bytes=BUDGET * 2 // 3)
        elif kind < 0.98:
            assert verify(disk_of(store).folder).damaged == 0
        else:
            store.close()
            store = open_store(folder, disk=BUDGET)
        yield {key: latest[key] for key in disk_of(store)}
    store.close()


def worked_without_an_index(folder: Path, random: Random, count: int) -> Iterator[Versions]:
    """Someone takes it away now and then."""
    store = open_store(folder)
    for number in range(count):
        key = random.choice(KEYS)
        store.put(key, segment_of(key, 1), 0.01)
        if number % 4 == 3:
            (folder / INDEX).unlink()
        yield dict.fromkeys(disk_of(store), 1)
    store.close()


def record(root: Path, seed: int, count: int, work: Work = worked) -> Recorded:
    """`count` operations on a store in `root`, which is new."""
    root.mkdir()
    recorder, random = Recorder(root), Random(seed)
    acknowledged: list[tuple[int, Versions]] = [(0, {})]
    with recorder.recording():
        for versions in work(root / "store", random, count):
            acknowledged.append((len(recorder.events), versions))
    return Recorded(recorder.events, acknowledged)


def disk_of(store: ModuleStore) -> DiskTier:
    disk = store.tiers[-1]
    assert isinstance(disk, DiskTier)
    return disk


def cuts(
    recorded: Recorded, moments: set[int], random: Random
) -> Iterator[tuple[Disk, Versions, Versions]]:
    """A disk after a cut at each of `moments`, and what was acknowledged before and right after."""
    disk, places = Disk(), iter([*recorded.acknowledged, (len(recorded.events) + 1, {})])
    before, (reached, after) = dict[SegmentKey, int](), next(places)
    for moment, event in enumerate(recorded.events):
        while reached <= moment:
            before, (reached, after) = after, next(places)
        if moment in moments:
            yield disk.after_a_power_cut(random), before, after
        disk.take(event)


def wrong(folder: Path, before: Versions, after: Versions) -> list[str]:
    """What a store that is opened on `folder` serves and should not, and what it has lost."""
    began = time.process_time()
    try:
        store = open_store(folder)
    except StoreError as error:
        return [f"not opened: {error}"]
    assert time.process_time() - began < 1
    found = []
    for number, key in enumerate(KEYS):
        segment = store.get(key)
        allowed = {versions.get(key) for versions in (before, after)}
        if segment is None:
            if None not in allowed:
                found.append(f"{number} is lost")
        elif not any(same(segment, segment_of(key, each)) for each in allowed - {None}):
            found.append(f"{number} is wrong")
    found += ["damage"] * (store.counts().damaged["disk"] > 0)
    store.close()
    return found


def lost(place: Path, recorded: Recorded, moments: set[int], seed: int) -> list[str]:
    found = []
    for disk, before, after in cuts(recorded, moments, Random(seed)):
        disk.build(place)
        found += wrong(place / "store", before, after)
        shutil.rmtree(place)
    return found


@pytest.mark.parametrize(
    ("seed", "count", "share"),
    [(0, 120, 0.3), pytest.param(1, 1200, 1.0, marks=pytest.mark.soak)],
    ids=["some", "all"],
)
def test_a_power_cut_loses_nothing_acknowledged(
    in_memory: Path, seed: int, count: int, share: float
) -> None:
    """More than 500 cuts; in the long version one at every event of ten times as many operations,
    in which SQLite moves its log into the database in between."""
    recorded = record(in_memory / "recorded", seed, count)
    num_events = len(recorded.events)
    moments = set(Random(seed).sample(range(num_events), int(num_events * share)))
    assert len(moments) > 500
    assert lost(in_memory / "cut", recorded, moments, seed) == []


def test_a_power_cut_while_an_index_is_made_anew(in_memory: Path) -> None:
    """Catches an index that is believed before it is complete, and a log of changes to the lost
    one that is taken for one to the new."""
    recorded = record(in_memory / "recorded", 3, 32, worked_without_an_index)
    moments = set(range(0, len(recorded.events), 8))
    assert lost(in_memory / "cut", recorded, moments, 3) == []


@pytest.mark.parametrize("is_folder", [True, False], ids=["names", "bytes"])
def test_what_is_not_synced_is_seen_to_be_lost(in_memory: Path, is_folder: bool) -> None:
    """The same on a disk that only says that it syncs: the test above can fail."""
    recorded = record(in_memory / "recorded", seed=2, count=60)
    folders = {event.node for event in recorded.events if isinstance(event, Rename)}

    def told(event: Change | Sync) -> Change | Sync:
        is_lie = isinstance(event, Sync) and (event.node in folders) == is_folder
        return Rename(ROOT, ()) if is_lie else event

    lying = Recorded([told(event) for event in recorded.events], recorded.acknowledged)
    moments = set(range(0, len(lying.events), 20))
    assert lost(in_memory / "cut", lying, moments, 2) != []
