"""The tables of `scripts/bench.py`: one method for each, whose rows are what is printed."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from minillm import LoadedModel, load
from minillm.config import ModelConfig
from minillm.families.falcon import FalconConfig
from minillm.families.mpt import MPTConfig
from minillm.linear import PackedLinear, can_pack
from minillm.model import Transformer
from pml import PromptCache
from speed import gguf_twin
from speed.limits import Machine
from speed.ours import Ours
from speed.peer import STEPS
from speed.peers import PeerProcess

ROOT = Path(__file__).parents[2]
BUILD, PEERS = ROOT / "build/bench", ROOT / ".venv-peers"

LONGEST = 8000
PREFILL = (256, 1024, 4096)
REUSE = ((1000, (32,)), (4000, (8, 32, 128)))
LONG_REUSE = (8, 32)
GROWTH = (500, 1000, 2000, 4000, 6000, 8000)
MODULES = (1, 5, 10, 20, 40)
DECODE = (256, 4000)
USUAL = 5  # modules
PAUSE = 0.05
"""Seconds before each run, in which the threads of the one before stop looking for work."""

Row = dict[str, Any]


class Tables:
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

    def prefill(self) -> list[Row]:
        self.start_peers()
        rows = []
        for length in PREFILL:
            runs = {"ours": partial(self.ours.full, length)} | self.asked("full", length)
            found = self.in_turn(runs, self.repeats if length < 4000 else 3)
            limit = self.limit(0, length)
            rows.append(
                {"tokens": length}
                | {f"{name}, s": seconds for name, seconds in found.items()}
                | {"limit, s": limit, "ours / limit": found["ours"] / limit}
                | {f"{name} / ours": found[name] / found["ours"] for name in self.peers}
            )
        return rows

    def reuse(self) -> list[Row]:
        self.start_peers()
        rows = []
        for cached, news in REUSE:
            for peer in self.peers.values():
                peer.ask("fill", cached)
            whole = self._whole(self.ours, cached)
            rows += [self._reuse(cached, new, whole, True) for new in news]
        return rows

    def long_reuse(self) -> list[Row]:
        whole = self._whole(self.ours, LONGEST, repeats=1)
        return [self._reuse(LONGEST, new, whole, False) for new in LONG_REUSE]

    def _whole(self, ours: Ours, cached: int, repeats: int = 3) -> float:
        """Seconds of a full prefill of the usual modules alone: less than all of a prompt takes."""
        seconds = statistics.median(ours.keep(cached) for _ in range(repeats))
        ours.cut(cached, USUAL)
        return seconds

    def _reuse(self, cached: int, new: int, whole: float, beside_peers: bool) -> Row:
        runs = {
            "copied": partial(self.ours.copied, new),
            "moved": partial(self.ours.moved, new),
            "kept": partial(self.ours.kept, new),
            "copies alone": self.ours.assembly,
        }
        for name, peer in self.peers.items() if beside_peers else ():
            runs[f"{name} kept"] = partial(peer.ask, "kept", new)
            runs[f"{name} restored"] = partial(peer.ask, "restored", new)
        found, limit = self.in_turn(runs), self.limit(cached, new)
        num_bytes = cached * self.model.config.kv_bytes_per_token(self.dtype.itemsize)
        return {
            "reused": cached,
            "new": new,
            "full prefill, s": whole,
            **{f"{name}, ms": seconds * 1e3 for name, seconds in found.items()},
            "limit, ms": limit * 1e3,
            "full / copied": whole / found["copied"],
            "full / kept": whole / found["kept"],
            "moved / copied": found["moved"] / found["copied"],
            "copied / limit": found["copied"] / limit,
            "copy, of the bandwidth": num_bytes / found["copies alone"] / self.machine.copy,
        }

    def growth(self) -> list[Row]:
        self.ours.keep(LONGEST)

        def first(cached: int) -> float:
            self.ours.cut(cached, USUAL)
            return self.ours.copied(32)

        found = self.in_turn({str(cached): partial(first, cached) for cached in GROWTH})
        rows = []
        for cached in GROWTH:
            repeats = 3 if cached <= 2000 else 1
            full = self.in_turn({"full": partial(self.ours.full, cached)}, repeats)["full"]
            times = {"first token, ms": found[str(cached)] * 1e3, "full prefill, ms": full * 1e3}
            rows.append({"reused": cached, **times})
        return rows

    def modules(self) -> list[Row]:
        self.ours.keep(4000)

        def first(count: int) -> float:
            self.ours.cut(4000, count)
            return self.ours.copied(32)

        found = self.in_turn({str(count): partial(first, count) for count in MODULES})
        return [
            {
                "modules": int(name),
                "first token, ms": seconds * 1e3,
                "to one module": seconds / found["1"],
            }
            for name, seconds in found.items()
        ]

    def decode(self) -> list[Row]:
        self.start_peers()
        small = self.of(load(self.folder, dtype=self.dtype, weights="int8").transformer)
        eight = self.peer("llama.cpp", self.twin("int8")) if self.peers else None
        rows = []
        for length in DECODE:
            for peer in (*self.peers.values(), *([eight] if eight else [])):
                peer.ask("fill", length)
            for one in (self.ours, small):
                one.fill(length)
            runs: dict[str, Callable[[], float]] = {"ours": partial(self.ours.decode, length)}
            runs |= {name: partial(peer_decode, peer, length) for name, peer in self.peers.items()}
            runs["int8 ours"] = partial(small.decode, length)
            if eight:
                runs["Q8_0 llama.cpp"] = partial(peer_decode, eight, length)
            found = self.in_turn(runs)
            rows.append(
                {"after tokens": length}
                | {f"{name}, tokens/s": 1 / seconds for name, seconds in found.items()}
                | {"limit, tokens/s": 1 / self.limit(length, 1)}
            )
        if eight:
            eight.close()
        return rows

    def families(self) -> list[Row]:
        """Random models of SmolLM2's size, in the wiring of each family."""
        rows: list[Row] = []
        for name, config in self._shapes().items():
            ours = self.of(random_model(config, self.dtype))
            full = self._whole(ours, 4000)
            copied = self.in_turn({"copied": partial(ours.copied, 32)})["copied"]
            rows.append(
                {
                    "family": name,
                    "KV bytes a token": config.kv_bytes_per_token(self.dtype.itemsize),
                    "full prefill, s": full,
                    "copied, ms": copied * 1e3,
                    "full / copied": full / copied,
                }
            )
        for row in rows:
            row["to Llama's"] = row["full / copied"] / rows[0]["full / copied"]
        return rows

    def _shapes(self) -> dict[str, ModelConfig]:
        llama = self.model.config
        wide = {"intermediate_size": llama.intermediate_size * 3 // 2}  # two matrices for three
        alibi = {"position_scheme": "alibi", "rotary_dim": 0}
        falcon = replace(llama, family="falcon", family_config=FalconConfig("one norm"), **wide)
        mpt = replace(llama, family="mpt", family_config=MPTConfig(), **wide, **alibi)
        return {
            "Llama, RoPE, 3 KV heads": llama,
            "Falcon, RoPE, 1 KV head": replace(falcon, num_kv_heads=1),
            "MPT, ALiBi, 9 KV heads": replace(mpt, num_kv_heads=llama.num_heads),
        }

    def encoding(self) -> list[Row]:
        """A schema of 40 modules, beside a full prefill of as many tokens."""
        text = "The river rises in the mountains and reaches the sea after many days. " * 7
        modules = "".join(f'<module name="m{n}">{n}: {text}</module>' for n in range(40))
        schema = f'<schema name="s">{modules}</schema>'
        tokens = 0

        def encode() -> float:
            nonlocal tokens
            cache = PromptCache(self.model)
            cache.add_schema(schema)
            started = time.perf_counter()
            tokens = cache.encode_schema("s").tokens
            return time.perf_counter() - started

        encode()
        found = self.in_turn({"e": encode, "f": lambda: self.ours.full(tokens)}, 3)
        rates = {name: tokens / seconds for name, seconds in found.items()}
        return [
            {
                "modules": 40,
                "tokens": tokens,
                "encoding, tokens/s": rates["e"],
                "full prefill, tokens/s": rates["f"],
                "encoding / full prefill": rates["e"] / rates["f"],
            }
        ]

    def loading(self) -> list[Row]:
        """A new process, from the command to its first token, torch imported apart."""
        rows = []
        for weights in ("plain", "packed", "int8"):
            command = ["-m", "minillm", "bench", str(self.folder), "--json", "--weights", weights]
            command += ["--dtype", self.dtype_name, "--length", "1"]
            times, peaks = [], []
            for _ in range(4):
                done = subprocess.run([sys.executable, *command], capture_output=True, check=True)
                facts = json.loads(done.stdout)["loading"]
                times.append(facts["seconds"])
                peaks.append(facts["peak_of_weights"])
            seconds, peak = statistics.median(times[1:]), statistics.median(peaks[1:])
            rows.append(
                {"weights": weights, "to the first token, s": seconds, "peak / weights": peak}
            )
        return rows

    def where(self) -> list[Row]:
        """Where the time of a first token goes: 4,000 reused and 32 new, copied."""
        self.ours.keep(4000)
        self.ours.cut(4000, USUAL)
        self.ours.copied(32)
        with torch.profiler.profile() as profile:
            wall = statistics.mean(self.ours.copied(32) for _ in range(self.repeats))
        spent = dict.fromkeys([*PARTS.values(), "other operations"], 0.0)
        for event in profile.key_averages():
            part = PARTS.get(event.key, "other operations")
            spent[part] += event.self_cpu_time_total / 1e6 / self.repeats
        spent["Python and waiting"] = max(0.0, wall - sum(spent.values()))
        return [
            {"part": part, "ms": seconds * 1e3, "share": seconds / wall}
            for part, seconds in spent.items()
        ]


PARTS = {
    "mkldnn::_linear_pointwise": "linear layers",
    "aten::addmm": "attention: products",
    "aten::baddbmm": "attention: products",
    "aten::_softmax": "attention: softmax",
    "aten::copy_": "copies",
}
"""The operations of torch that a forward spends its time in; plain linear layers are `addmm` too,
so the table is only right for packed ones."""


def peer_decode(peer: PeerProcess, length: int) -> float:
    return peer.ask("decode", length) / STEPS


def random_model(config: ModelConfig, dtype: torch.dtype) -> Transformer:
    """Small random weights, which cost as much as trained ones."""
    model = Transformer(config).to(dtype).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.normal_(std=0.02)
    if can_pack(dtype, "cpu"):
        model.replace_linears(PackedLinear, model.state_dict().get)
    return model


TABLES = {
    "prefill": Tables.prefill,
    "reuse": Tables.reuse,
    "long_reuse": Tables.long_reuse,
    "growth": Tables.growth,
    "modules": Tables.modules,
    "decode": Tables.decode,
    "families": Tables.families,
    "encoding": Tables.encoding,
    "loading": Tables.loading,
    "where": Tables.where,
}


def machine_facts(bench: Tables) -> dict[str, Any]:
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
