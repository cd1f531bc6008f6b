"""States in a remote: found by another machine, never a wrong one, never an error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from strategies import ModelShape

from minillm.kv import KVSegment
from pml.store import ModuleStore, SegmentKey, open_store
from pml.store.codec import codec_for
from pml.store.protocols import Codec

CONFIG = ModelShape(2, 3, 1, 8, True, False, "llama", 0).config()


def key(number: int, count: int = 5) -> SegmentKey:
    return SegmentKey(f"{number:064x}", 7, tuple(range(number, number + count)))


def segment(seed: int, count: int = 5) -> KVSegment:
    block = torch.randn((2, 2, 3, count, 8), generator=torch.Generator().manual_seed(seed))
    return KVSegment(block, torch.arange(count), 7)


def opened(url: str, codec: Codec | None = None) -> ModuleStore:
    """As on a machine that shares nothing else."""
    return open_store(remote=url, codec=codec)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["native", "bfloat16", "int8", "int4"])
def test_another_machine_finds_the_same_bits(tmp_path: Path, name: str) -> None:
    """Where the codec rounds, too: what was handed out after `put` is what comes from afar."""
    codec = codec_for(name, CONFIG)  # type: ignore[arg-type]
    one, other = opened(str(tmp_path), codec), opened(str(tmp_path), codec)
    kept = one.put(key(1), segment(1), 2.5, label="travel/rome")
    assert other.where(key(1)) == "remote" and key(2) not in other
    found = other.get(key(1))
    assert found is not None and found.block.equal(kept.block)
    assert found.offsets.equal(kept.offsets) and found.origin == kept.origin
    assert other.where(key(1)) == "memory"
    assert other.counts().hits == {"remote": 1}
    one.remove(key(1))
    assert opened(str(tmp_path), codec).get(key(1)) is None


def test_what_was_prefetched_is_taken(tmp_path: Path) -> None:
    opened(str(tmp_path)).put(key(1), segment(1))
    other = opened(str(tmp_path))
    other.prefetch([key(1), key(2)])
    found = other.get(key(1))
    assert found is not None and found.block.equal(segment(1).block)
    assert other.get(key(2)) is None
    other.close()


def test_damage_is_a_miss_and_is_written_over(tmp_path: Path) -> None:
    """Bits turned, ends cut off, bytes added, nothing left: 300 times, at seeded places."""
    store, draw = opened(str(tmp_path)), random.Random(0)
    store.put(key(1), segment(1))
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for number in range(300):
        data = bytearray(whole)
        if number % 3 == 0:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif number % 3 == 1:
            del data[draw.randrange(len(data)) :]
        else:
            data += bytes(draw.randrange(1, 9))
        path.write_bytes(data)
        reader = opened(str(tmp_path))
        assert reader.get(key(1)) is None
        assert reader.counts().damaged == {"memory": 0, "remote": 1} or not data
    reader.put(key(1), segment(1))
    assert opened(str(tmp_path)).get(key(1)) is not None


def test_another_state_under_that_name_is_a_miss(tmp_path: Path) -> None:
    store = opened(str(tmp_path))
    store.put(key(1), segment(1))
    (first,) = files(tmp_path)
    store.put(key(2), segment(2))
    (second,) = set(files(tmp_path)) - {first}
    first.write_bytes(second.read_bytes())
    reader = opened(str(tmp_path))
    assert reader.get(key(1)) is None
    assert reader.counts().damaged == {"memory": 0, "remote": 1}
    assert reader.get(key(2)) is not None


def test_other_tokens_under_that_key_are_a_miss(tmp_path: Path) -> None:
    opened(str(tmp_path)).put(key(1), segment(1))
    other = SegmentKey(key(1).digest, 7, (9, 9, 9, 9, 9))
    assert opened(str(tmp_path)).get(other) is None


def test_another_codec_is_a_miss(tmp_path: Path) -> None:
    opened(str(tmp_path)).put(key(1), segment(1))
    assert opened(str(tmp_path), codec_for("int8", CONFIG)).get(key(1)) is None


def test_a_remote_that_is_gone_takes_nothing_from_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    store = opened(str(blocked))
    store.put(key(1), segment(1))
    assert store.where(key(1)) == "memory"
    assert store.get(key(1)) is not None and store.get(key(2)) is None
