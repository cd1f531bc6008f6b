"""Folders that somebody damaged on purpose: converted or loaded as they are, or one short line."""

from __future__ import annotations

import dataclasses
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from mutations import mutated

from minillm.checkpoint import load
from minillm.config_file import load_config, save_config
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.verify import verify
from minillm.weights_file import sha256_of

SECONDS = 2.0  # of computing: other tests may run beside
WEIGHTS = "model.safetensors"


def bounded(run: Callable[[], object], folder: Path) -> bool:
    """Whether `run` refused what it was given, in one line, in time and in little memory."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    tracemalloc.reset_peak()
    started, before = time.process_time(), tracemalloc.get_traced_memory()[0]
    try:
        run()
        return False
    except LoadError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return True
    finally:
        assert time.process_time() - started < SECONDS
        assert tracemalloc.get_traced_memory()[1] - before < 2 * size + (64 << 20)


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.fuzz
@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("count", [500, pytest.param(200_000, marks=pytest.mark.soak)])
def test_a_damaged_foreign_folder(tmp_path: Path, count: int) -> None:
    source = tiny.write_folder(tmp_path / "source", tiny.weights(), parts=2)
    target, refused = tmp_path / "target", 0
    good = {path: path.read_bytes() for path in sorted(source.iterdir())}
    for seed in range(count):
        path = list(good)[seed % len(good)]
        # Of weights the header counts, which is one part in twenty.
        head, rest = good[path][:4000], good[path][4000:]
        path.write_bytes(mutated(head, seed) + rest)
        refused += bounded(lambda: convert(source, target), source)
        shutil.rmtree(target, ignore_errors=True)
        path.write_bytes(good[path])
    assert refused > count / 2
    convert(source, target)


@pytest.mark.fuzz
@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("count", [100, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_damaged_folder_of_ours(tmp_path: Path, count: int) -> None:
    source = tiny.write_folder(tmp_path / "source", tiny.weights())
    folder = convert(source, tmp_path / "tiny").folder
    good, refused = {path: path.read_bytes() for path in sorted(folder.iterdir())}, 0
    for seed in range(count):
        path = list(good)[seed % len(good)]
        path.write_bytes(mutated(good[path][:4000], seed) + good[path][4000:])
        if path.name == WEIGHTS:  # with a sha256 that fits: the header itself is read
            stored = load_config(folder)
            save_config(dataclasses.replace(stored, weights_sha256=sha256_of(path)), folder)
        refused += bounded(lambda: verify(load(folder, dtype=torch.bfloat16), folder), folder)
        for name, data in good.items():
            name.write_bytes(data)
    assert refused > count / 2
    verify(load(folder), folder)
