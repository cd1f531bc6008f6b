"""The tables of `scripts/bench.py`: a function for each, whose rows are what is printed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from minillm import load
from minillm.config import ModelConfig
from minillm.families.falcon import FalconConfig
from minillm.families.mpt import MPTConfig
from minillm.linear import PackedLinear, can_pack
from minillm.model import Transformer
from pml import PromptCache
from speed.measure import USUAL, BenchRun, Row
from speed.peer import STEPS
from speed.peers import PeerProcess
from speed.reuse import growth, long_reuse, modules, reuse

PREFILL = (256, 1024, 4096)
DECODE = (256, 4000)


def prefill(bench: BenchRun) -> list[Row]:
    bench.start_peers()
    rows = []
    for length in PREFILL:
        runs = {"ours": partial(bench.ours.full, length)} | bench.asked("full", length)
        found = bench.in_turn(runs, bench.repeats if length < 4000 else 3)
        limit = bench.limit(0, length)
        rows.append(
            {"tokens": length}
            | {f"{name}, s": seconds for name, seconds in found.items()}
            | {"limit, s": limit, "ours / limit": found["ours"] / limit}
            | {f"{name} / ours": found[name] / found["ours"] for name in bench.peers}
        )
    return rows


def decode(bench: BenchRun) -> list[Row]:
    bench.start_peers()
    small = bench.of(load(bench.folder, dtype=bench.dtype, weights="int8").transformer)
    eight = bench.peer("llama.cpp", bench.twin("int8")) if bench.peers else None
    rows = []
    for length in DECODE:
        for peer in (*bench.peers.values(), *([eight] if eight else [])):
            peer.ask("fill", length)
        for one in (bench.ours, small):
            one.fill(length)
        runs: dict[str, Callable[[], float]] = {"ours": partial(bench.ours.decode, length)}
        runs |= {name: partial(peer_decode, peer, length) for name, peer in bench.peers.items()}
        runs["int8 ours"] = partial(small.decode, length)
        if eight:
            runs["Q8_0 llama.cpp"] = partial(peer_decode, eight, length)
        found = bench.in_turn(runs)
        rows.append(
            {"after tokens": length}
            | {f"{name}, tokens/s": 1 / seconds for name, seconds in found.items()}
            | {"limit, tokens/s": 1 / bench.limit(length, 1)}
        )
    if eight:
        eight.close()
    return rows


def families(bench: BenchRun) -> list[Row]:
    """Random models of SmolLM2's size, in the wiring of each family."""
    rows: list[Row] = []
    for name, config in _shapes(bench.model.config).items():
        ours = bench.of(random_model(config, bench.dtype))
        full = bench.whole(ours, 4000)
        copied = bench.in_turn({"copied": partial(ours.copied, 32)})["copied"]
        rows.append(
            {
                "family": name,
                "KV bytes a token": config.kv_bytes_per_token(bench.dtype.itemsize),
                "full prefill, s": full,
                "copied, ms": copied * 1e3,
                "full / copied": full / copied,
            }
        )
    for row in rows:
        row["to Llama's"] = row["full / copied"] / rows[0]["full / copied"]
    return rows


def _shapes(llama: ModelConfig) -> dict[str, ModelConfig]:
    wide = {"intermediate_size": llama.intermediate_size * 3 // 2}  # two matrices for three
    alibi = {"position_scheme": "alibi", "rotary_dim": 0}
    falcon = replace(llama, family="falcon", family_config=FalconConfig("one norm"), **wide)
    mpt = replace(llama, family="mpt", family_config=MPTConfig(), **wide, **alibi)
    return {
        "Llama, RoPE, 3 KV heads": llama,
        "Falcon, RoPE, 1 KV head": replace(falcon, num_kv_heads=1),
        "MPT, ALiBi, 9 KV heads": replace(mpt, num_kv_heads=llama.num_heads),
    }


def encoding(bench: BenchRun) -> list[Row]:
    """A schema of 40 modules, beside a full prefill of as many tokens."""
    text = "The river rises in the mountains and reaches the sea after many days. " * 7
    modules = "".join(f'<module name="m{n}">{n}: {text}</module>' for n in range(40))
    schema = f'<schema name="s">{modules}</schema>'
    tokens = 0

    def encode() -> float:
        nonlocal tokens
        cache = PromptCache(bench.model)
        cache.add_schema(schema)
        started = time.perf_counter()
        tokens = cache.encode_schema("s").tokens
        return time.perf_counter() - started

    encode()
    found = bench.in_turn({"e": encode, "f": lambda: bench.ours.full(tokens)}, 3)
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


def loading(bench: BenchRun) -> list[Row]:
    """A new process, from the command to its first token, torch imported apart."""
    rows = []
    for weights in ("plain", "packed", "int8"):
        command = ["-m", "minillm", "bench", str(bench.folder), "--json", "--weights", weights]
        command += ["--dtype", bench.dtype_name, "--length", "1"]
        times, peaks = [], []
        for _ in range(4):
            done = subprocess.run([sys.executable, *command], capture_output=True, check=True)
            facts = json.loads(done.stdout)["loading"]
            times.append(facts["seconds"])
            peaks.append(facts["peak_of_weights"])
        seconds, peak = statistics.median(times[1:]), statistics.median(peaks[1:])
        rows.append({"weights": weights, "to the first token, s": seconds, "peak / weights": peak})
    return rows


def where(bench: BenchRun) -> list[Row]:
    """Where the time of a first token goes: 4,000 reused and 32 new, copied."""
    bench.ours.keep(4000)
    bench.ours.cut(4000, USUAL)
    bench.ours.copied(32)
    with torch.profiler.profile() as profile:
        wall = statistics.mean(bench.ours.copied(32) for _ in range(bench.repeats))
    spent = dict.fromkeys([*PARTS.values(), "other operations"], 0.0)
    for event in profile.key_averages():
        part = PARTS.get(event.key, "other operations")
        spent[part] += event.self_cpu_time_total / 1e6 / bench.repeats
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
    "prefill": prefill,
    "reuse": reuse,
    "long_reuse": long_reuse,
    "growth": growth,
    "modules": modules,
    "decode": decode,
    "families": families,
    "encoding": encoding,
    "loading": loading,
    "where": where,
}
