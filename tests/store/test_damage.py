"""Damaged files of a store: detected, put aside, encoded again; never served, never a crash."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from random import Random

import pytest
from stored_states import key_of, same, segment_of

from pml.store import ModuleStore, StoreError, open_store
from pml.store.disk import DiskTier
from pml.store.files import stamp_of
from pml.store.folder import StateFolder
from pml.store.upkeep import verify

NUM_STATES = 8


def filled(folder: Path) -> ModuleStore:
    store = open_store(folder)
    for seed in range(NUM_STATES):
        store.put(key_of(seed), segment_of(key_of(seed)), 0.5, label=f"/{seed}")
    return store


def state_files(folder: Path) -> list[Path]:
    return sorted((folder / "states").glob("*/*"))


def flip(path: Path, random: Random) -> None:
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, random: Random) -> None:
    os.truncate(path, random.randrange(path.stat().st_size))


def lengthen(path: Path, random: Random) -> None:
    with path.open("ab") as file:
        file.write(random.randbytes(random.randrange(1, 200)))


def zero(path: Path, random: Random) -> None:
    """A sector that was never written."""
    data = bytearray(path.read_bytes())
    start = random.randrange(0, len(data), 512)
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)


def swap(path: Path, random: Random) -> None:
    """The contents of another state, whole and right in themselves."""
    others = [other for other in path.parent.parent.glob("*/*") if other != path]
    path.write_bytes(random.choice(others).read_bytes())


def lose(path: Path, random: Random) -> None:
    path.unlink()


DAMAGES: list[Callable[[Path, Random], None]] = [flip, flip, truncate, lengthen, zero, swap, lose]


@pytest.mark.parametrize(
    ("count", "seed"),
    [(500, 0), pytest.param(100_000, 1, marks=pytest.mark.soak)],
    ids=["some", "many"],
)
def test_no_damage_is_served(in_memory: Path, count: int, seed: int) -> None:
    """Bits, lengths, sectors, other contents, in files and in the index, alone and together: what
    is damaged is not there, and can be stored again."""
    random = Random(seed)
    template, folder = in_memory / "template", in_memory / "store"
    filled(template).close()
    while count > 0:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        if random.random() < 0.3:
            random.choice([flip, truncate, zero, lose])(folder / "index.sqlite", random)
        damaged = random.sample(state_files(folder), random.randrange(1, 4))
        for path in damaged:
            random.choice(DAMAGES)(path, random)
        count -= len(damaged)
        check_what_is_served(folder)
        with closing(StateFolder(folder)) as states:
            verify(states)
        assert all(is_whole(path) for path in state_files(folder))


def test_a_sector_of_the_index_is_lost_with_a_file(in_memory: Path) -> None:
    """Any sector of the page that the states are on, and any file. Catches a state that is stored
    into an index which loses it again."""
    template, folder = in_memory / "template", in_memory / "store"
    filled(template).close()
    whole = (template / "index.sqlite").read_bytes()
    for start, number in product(range(4096, 8192, 512), range(NUM_STATES)):
        shutil.copytree(template, folder)
        damaged = whole[:start] + bytes(512) + whole[start + 512 :]
        (folder / "index.sqlite").write_bytes(damaged)
        path = state_files(folder)[number]
        os.truncate(path, path.stat().st_size // 2)
        check_what_is_served(folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("table", ["states", "sums"])
@pytest.mark.parametrize("made", [filled, open_store])
def test_an_index_of_other_columns_is_made_anew(
    tmp_path: Path, table: str, made: Callable[[Path], ModuleStore]
) -> None:
    """As a damage to the tables' own description makes it. Catches columns that are counted on."""
    made(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as database:
        database.execute(f"ALTER TABLE {table} ADD COLUMN damage DEFAULT 0")
    check_what_is_served(tmp_path)


def check_what_is_served(folder: Path) -> None:
    store = open_store(folder)
    for seed in range(NUM_STATES):
        key = key_of(seed)
        found = store.get(key)
        assert found is None or same(found, segment_of(key))
        if found is None:
            store.put(key, segment_of(key))
    store.close()
    again = open_store(folder)
    assert all(same(again.get(key_of(seed)), segment_of(key_of(seed))) for seed in range(8))
    again.close()


def is_whole(path: Path) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_a_bit_that_rots_without_a_write_is_seen(tmp_path: Path) -> None:
    """The file looks untouched: size, times and inode are those that the index knows."""
    store = filled(tmp_path)
    disk = store.tiers[-1]
    assert isinstance(disk, DiskTier)
    row = disk.folder.find(key_of(3))
    assert row is not None
    path = disk.folder.files.path(row.file)
    flip(path, Random(0))
    disk.folder.index.update(row.key, stamp=stamp_of(path))
    store.close()
    again = open_store(tmp_path)
    assert again.get(key_of(3)) is None
    assert again.counts().damaged["disk"] == 1
    assert again.why_missing(key_of(3)) == "damaged"
    assert len([*(tmp_path / "quarantine").iterdir()]) == 1


def test_other_models_and_dtypes_find_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.get(key_of(0, dtype="float64")) is None
    assert store.get(key_of(0, namespace="tenant")) is None


def test_a_folder_of_another_format_is_refused_in_one_line(tmp_path: Path) -> None:
    filled(tmp_path).close()
    (tmp_path / "format").write_text("pml store 2\n")
    with pytest.raises(StoreError, match="its format is b'pml store 2") as caught:
        open_store(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"no store, it holds 'thesis\.tex'"):
        open_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_files_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    filled(tmp_path / "store").close()
    for path in (tmp_path / "store").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
