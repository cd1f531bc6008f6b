"""How `scripts/bench.py` measures: one run's model, its peers, and what is taken in turn."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minillm import LoadedModel, load
from minillm.model import Transformer
from speed import gguf_twin
from speed.limits import Machine
from speed.ours import Ours
from speed.peers import PeerProcess

ROOT = Path(__file__).parents[2]
BUILD, PEERS = ROOT / "build/bench", ROOT / ".venv-peers"

LONGEST = 8000
"""Tokens in modules, at most."""

USUAL = 5
"""Modules, where their number is not what is measured."""

PAUSE = 0.05
"""Seconds before each run, in which the threads of the one before stop looking for work."""

Row = dict[str, Any]


class BenchRun:
    """One run: the models, the peers, and how often each thing is measured."""

    def __init__(self, folder: Path, dtype: torch.dtype, repeats: int, with_peers: bool) -> None:
        self.folder, self.dtype, self.repeats = folder, dtype, repeats
        self.dtype_name = str(dtype).removeprefix("torch.")
        self.model: LoadedModel = load(folder, dtype=dtype)
        self.ours = self.of(self.model.transformer)
        self.machine = Machine.measured(dtype, repeats)
        self.with_peers = with_peers
        self.peers: dict[str, PeerProcess] = {}

    def of(self, model: Transformer) -> Ours:
        return Ours(model, LONGEST + 128, self.repeats)

    def start_peers(self) -> None:
        if self.with_peers and not self.peers:
            self.peers = {
                "transformers": self.peer("transformers", self.folder),
                "llama.cpp": self.peer("llama.cpp", self.twin(self.dtype_name)),
            }

    def peer(self, name: str, model: Path) -> PeerProcess:
        tokens, threads = self.ours.tokens, torch.get_num_threads()
        return PeerProcess(PEERS / "bin/python", name, model, self.dtype_name, threads, tokens)

    def twin(self, kind: str) -> Path:
        target, source = BUILD / f"{kind}.gguf", self.folder.with_suffix(".gguf")
        if not target.exists():
            BUILD.mkdir(parents=True, exist_ok=True)
            gguf_twin.convert(str(source), str(target), gguf_twin.KINDS[kind])
        return target

    def asked(self, method: str, argument: int) -> dict[str, Callable[[], float]]:
        return {name: partial(peer.ask, method, argument) for name, peer in self.peers.items()}

    def in_turn(
        self, runs: Mapping[str, Callable[[], float]], repeats: int | None = None
    ) -> dict[str, float]:
        """Median seconds of each; the first round is the warm-up."""
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(1 + (repeats or self.repeats)):
            for name, run in runs.items():
                time.sleep(PAUSE)
                times[name].append(run())
        return {name: statistics.median(found[1:]) for name, found in times.items()}

    def limit(self, cached: int, new: int) -> float:
        return self.machine.seconds(self.model.config, self.dtype.itemsize, cached, new)

    def whole(self, ours: Ours, cached: int, repeats: int = 3) -> float:
        """Seconds of a full prefill of the usual modules alone: less than all of a prompt takes."""
        seconds = statistics.median(ours.keep(cached) for _ in range(repeats))
        ours.cut(cached, USUAL)
        return seconds

    def num_bytes(self, cached: int) -> int:
        return cached * self.model.config.kv_bytes_per_token(self.dtype.itemsize)


def machine_facts(bench: BenchRun) -> dict[str, Any]:
    """What a figure depends on: stands beside every table."""
    return {
        "processor": platform.processor() or platform.machine(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": bench.model.name,
        "dtype": bench.dtype_name,
        "repeats": bench.repeats,
        **{f"{name}, G/s": value / 1e9 for name, value in asdict(bench.machine).items()},
    }
