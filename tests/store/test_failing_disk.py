"""Full and failing disks: requests are answered, states stay in memory, nothing half written is
served. Whatever fails is injected where files are written, and once it is the system that fails."""

from __future__ import annotations

import errno
import resource
from contextlib import closing
from pathlib import Path

import pytest
import torch
from failing_disk import FailingDisk
from stored_states import key_of, same, segment_of
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from pml import PromptCache
from pml.store import ModuleStore, SegmentKey, open_store
from pml.store.folder import StateFolder
from pml.store.upkeep import verify

SCHEMA = """<schema name="trip">You plan travel by train for all of us who wait.
  <module name="rome">To Rome: the old streets.</module>
</schema>"""
PROMPT = '<prompt schema="trip"><rome/>When to go there by train?</prompt>'
KEYS = [key_of(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(write_checkpoint(tmp_path_factory.mktemp("failing") / "tiny"))


def answered(model: LoadedModel, store: ModuleStore) -> torch.Tensor:
    cache = PromptCache(model, store=store)
    cache.add_schema(SCHEMA)
    return cache.prefill(PROMPT).logits


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["full", "worn"])
@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace", "sqlite"])
def test_a_disk_that_takes_nothing_hurts_no_request(
    model: LoadedModel, in_memory: Path, name: str, code: int
) -> None:
    """The state stays in memory; later, on a disk that is well, it is encoded anew."""
    expected = answered(model, open_store())
    folder = in_memory / "store"
    open_store(folder).close()
    disk = FailingDisk(folder, code, lambda one, number: one == name)
    with disk.watching_sqlite():
        store = open_store(folder)
        with disk.failing():
            assert torch.equal(answered(model, store), expected)
            assert torch.equal(answered(model, store), expected)
        assert store.hits_by == {"memory": 2}
        assert store.counts().failures["disk"] > 0 and disk.failed > 0
        store.close()
    again = open_store(folder)
    assert torch.equal(answered(model, again), expected)
    assert again.counts().damaged["disk"] == 0 and again.hits_by["disk"] == 0
    again.close()


@pytest.mark.parametrize("name", ["read", "sqlite"])
def test_a_disk_that_gives_nothing_hurts_no_request(
    model: LoadedModel, in_memory: Path, name: str
) -> None:
    """What cannot be read is encoded anew, and is not damaged."""
    folder = in_memory / "store"
    store = open_store(folder)
    expected = answered(model, store)
    store.close()
    disk = FailingDisk(folder, errno.EIO, lambda one, number: one == name)
    with disk.watching_sqlite():
        store = open_store(folder)
        with disk.failing():
            assert torch.equal(answered(model, store), expected)
        assert store.counts().failures["disk"] > 0 and disk.failed > 0
        store.close()
    again = open_store(folder)
    assert torch.equal(answered(model, again), expected)
    assert again.counts().damaged["disk"] == 0 and again.hits_by["disk"] == 2
    again.close()


@pytest.mark.parametrize("lasts", [True, False], ids=["from then on", "once"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["full", "worn"])
def test_each_operation_may_fail(in_memory: Path, code: int, lasts: bool) -> None:
    """One after the other. Catches a transaction that is left open, a file that is in the index
    and was not written, a state that is served though its successor was acknowledged."""
    number = failed = 0
    while failed == number:
        number += 1
        folder = in_memory / f"{number}"
        open_store(folder).close()
        disk = FailingDisk(folder, code, lambda _, n, at=number: n >= at if lasts else n == at)
        with disk.watching_sqlite():
            store = open_store(folder, memory=1_000)
            with disk.failing():
                use(store)
        failed += disk.failed > 0
        check(folder)
    assert number > 100


def use(store: ModuleStore) -> None:
    """All that a store is asked for, where it has some of its states on disk only."""
    for key in KEYS:
        store.put(key, segment_of(key))
        assert same(store.get(key), segment_of(key))
    store.pin(KEYS[1])
    store.remove(KEYS[3])
    store.prefetch(KEYS)
    assert all(serves_nothing_wrong(store, key) for key in KEYS)
    store.close()


def serves_nothing_wrong(store: ModuleStore, key: SegmentKey) -> bool:
    found = store.get(key)
    return found is None or same(found, segment_of(key))


def check(folder: Path) -> None:
    """On a disk that is well again."""
    store = open_store(folder)
    for key in KEYS:
        assert serves_nothing_wrong(store, key)
        store.put(key, segment_of(key))
    assert store.counts().damaged["disk"] == store.counts().failures["disk"] == 0
    store.close()
    with closing(StateFolder(folder)) as states:
        assert verify(states).damaged == 0
        assert len(states.rows()) == len(KEYS)


def test_the_system_refuses_to_write(in_memory: Path) -> None:
    """A process that may not write files of more than 100 kB, the index and its log included."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = open_store(in_memory / "store")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        for number in range(100):
            store.put(key_of(number), segment_of(key_of(number)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.counts().failures["disk"] > 0
    on_disk = [key_of(number) for number in range(100) if key_of(number) in store.tiers[-1]]
    store.close()
    again = open_store(in_memory / "store")
    assert 0 < len(on_disk) < 100
    assert all(same(again.get(key), segment_of(key)) for key in on_disk)
    assert again.counts().damaged["disk"] == 0
    again.close()
