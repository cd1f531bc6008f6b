"""Eviction policies beside the optimum: Zipf traffic over 200 schemas, half the memory it needs.

    python scripts/bench_policies.py [--requests 20000] [--share 0.5] [--seed 0]

Sizes are drawn like those of the schemas in `examples/`: a module has 100 tokens in the median, a
schema's modules are alike, schemas differ widely. A request names a schema by Zipf's law, takes
its common text, and one member of each of its unions, by Zipf's law again; what a request takes is
held until it is answered. Encoding costs what a forward costs: SmolLM2's operations.

The optimum knows the future: Belady's rule for each single byte (of all bytes that one is dropped,
or not kept at all, that is asked for last). For bytes, which all have one size, it is exact, and
no policy that must keep whole states can be better: an upper bound of all of them.

Then a real store is given the same traffic, with blocks 50 times smaller: the most memory that
the process took, beside budget and the largest state.

Ends with exit code 1 if the default policy misses `LIMIT` at any of the exponents, or if memory was
ever more than the budget, one state, and `BOOKS`.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate, count
from pathlib import Path

import torch

from minillm.kv import KVSegment
from pml.store import SegmentKey, open_store
from pml.store.policy import POLICIES, EvictionOrder, Policy

SCHEMAS = 200
EXPONENTS = (0.8, 1.0, 1.2)
DEFAULT = "cost"
LIMIT = 0.9
"""The least byte hit rate of the default policy, as a part of the optimum's."""

SMALLER, BOOKS = 50, 2_000
"""A real store's blocks are so many times smaller, and it may take so many bytes besides for each
state that it ever saw: keys, counts, why it is gone."""

BYTES_PER_TOKEN = 46_080  # SmolLM2-135M in float32


@dataclass(frozen=True)
class Module:
    """A state that is asked for: its size, and what computing it takes."""

    number: int
    num_bytes: int
    seconds: float


@dataclass(frozen=True)
class SchemaOfModules:
    common: Module
    unions: tuple[tuple[Module, ...], ...]


class Zipf:
    """Draws ranks from 0: rank r is 1 / (r + 1)^exponent as likely as the first."""

    def __init__(self, count: int, exponent: float) -> None:
        self._range = range(count)
        self._weights = [*accumulate((rank + 1) ** -exponent for rank in self._range)]

    def draw(self, random: random.Random) -> int:
        return random.choices(self._range, cum_weights=self._weights)[0]


def forward_seconds(tokens: int, context: int) -> float:
    """SmolLM2's operations for `tokens` that see `context`, at 100 GFLOP/s."""
    return (212e6 * tokens + 4 * tokens * (context + tokens / 2) * 576 * 30) / 100e9


def schema(source: random.Random, numbers: Iterator[int]) -> SchemaOfModules:
    median = source.gauss(math.log(100), 1.2)

    def module(context: int) -> Module:
        tokens = round(min(max(math.exp(source.gauss(median, 0.8)), 8), 6000))
        seconds = forward_seconds(tokens, context)
        return Module(next(numbers), tokens * BYTES_PER_TOKEN, seconds)

    common = module(0)
    context = common.num_bytes // BYTES_PER_TOKEN
    sizes = (source.randint(2, 8) for _ in range(source.randint(1, 4)))
    unions = (tuple(module(context) for _ in range(size)) for size in sizes)
    return SchemaOfModules(common, tuple(unions))


def traffic(requests: int, exponent: float, seed: int) -> list[list[Module]]:
    """The states that each request takes."""
    source, numbers = random.Random(seed), count()
    library = [schema(source, numbers) for _ in range(SCHEMAS)]
    popular, found = Zipf(SCHEMAS, exponent), []
    for _ in range(requests):
        taken = library[popular.draw(source)]
        chosen = (union[Zipf(len(union), exponent).draw(source)] for union in taken.unions)
        found.append([taken.common, *chosen])
    return found


@dataclass
class Score:
    """What was asked for, and what of it was there: in bytes, and in the seconds they save."""

    asked_bytes: int = 0
    hit_bytes: float = 0
    asked_seconds: float = 0.0
    hit_seconds: float = 0.0

    def count(self, module: Module, share: float) -> None:
        """`share` of `module` was there."""
        self.asked_bytes += module.num_bytes
        self.hit_bytes += module.num_bytes * share
        self.asked_seconds += module.seconds
        self.hit_seconds += module.seconds * share

    @property
    def byte_hit_rate(self) -> float:
        return self.hit_bytes / self.asked_bytes

    @property
    def saved(self) -> float:
        return self.hit_seconds / self.asked_seconds


def replay(requests: list[list[Module]], policy: Policy, budget: int) -> Score:
    """One tier under `policy`. What does not fit beside what is held is computed and not kept."""
    order, score, used = EvictionOrder[Module](policy), Score(), 0
    for request in requests:
        for module in request:
            score.count(module, module in order)
            if module in order:
                order.use(module)
                continue
            used += module.num_bytes
            while used > budget and (victim := order.evict(request.__contains__)):
                used -= victim.num_bytes
            if used > budget:
                used -= module.num_bytes
            else:
                order.add(module, num_bytes=module.num_bytes, seconds=module.seconds)
    return score


def optimum(requests: list[list[Module]], budget: int) -> Score:
    """Belady's rule, byte by byte: the bytes of a state are asked for at the same times, so that
    of one state at most is kept in part."""
    asked = [module for request in requests for module in request]
    score, kept, used = Score(), dict[Module, int](), 0
    latest: list[tuple[int, int, Module]] = []  # kept bytes, those asked for last on top
    following = dict[Module, int]()
    for module, upcoming in zip(asked, _next_uses(asked), strict=True):
        score.count(module, kept.get(module, 0) / module.num_bytes)
        used += module.num_bytes - kept.get(module, 0)
        kept[module], following[module] = module.num_bytes, upcoming
        heappush(latest, (-upcoming, module.number, module))
        while used > budget:
            upcoming, _, victim = latest[0]
            if -upcoming != following[victim] or not kept[victim]:
                heappop(latest)
                continue
            dropped = min(kept[victim], used - budget)
            kept[victim] -= dropped
            used -= dropped
    return score


def _next_uses(asked: list[Module]) -> Iterator[int]:
    """When each of `asked` is asked for again; after the end, if never."""
    found, later = [0] * len(asked), dict[Module, int]()
    for time in reversed(range(len(asked))):
        found[time] = later.get(asked[time], len(asked))
        later[asked[time]] = time
    return iter(found)


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_memory(requests: list[list[Module]], budget: int) -> int:
    """Bytes that a real store, and the segment that is being put, took at most."""
    store, most = open_store(memory=budget), 0
    store.put(SegmentKey("warm", 0, (0,)), KVSegment(torch.ones(1, 2, 1, 1, 8), torch.zeros(1), 0))
    before = resident()
    for request in requests:
        in_use = []
        for module in request:
            key = SegmentKey(str(module.number), 0, (0,))
            segment = store.get(key)
            if segment is None:
                block = torch.ones((1, 2, 1, 1, module.num_bytes // SMALLER // 8))
                segment = KVSegment(block, torch.zeros(1, dtype=torch.long), 0)
                most = max(most, resident() - before)
                store.put(key, segment, module.seconds)
            in_use.append(segment)
        most = max(most, resident() - before)
    assert store.num_bytes <= budget
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.5, help="of the memory for all states")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    worst = 1.0
    for exponent in EXPONENTS:
        requests = traffic(arguments.requests, exponent, arguments.seed)
        states = {module for request in requests for module in request}
        needed = sum(module.num_bytes for module in states)
        budget = int(needed * arguments.share)
        print(
            f"Zipf {exponent}: {len(requests):,} requests, {len(states):,} states of "
            f"{needed / 1e9:.1f} GB, budget {budget / 1e9:.1f} GB"
        )
        best = optimum(requests, budget)
        print("  policy    byte hit rate   of optimum   seconds saved")
        scores = {name: replay(requests, policy, budget) for name, policy in POLICIES.items()}
        for name, score in (*scores.items(), ("optimum", best)):
            part = score.byte_hit_rate / best.byte_hit_rate
            print(f"  {name:<9} {score.byte_hit_rate:>13.1%} {part:>12.1%} {score.saved:>15.1%}")
        worst = min(worst, scores[DEFAULT].byte_hit_rate / best.byte_hit_rate)
    budget, largest = budget // SMALLER, max(m.num_bytes for m in states) // SMALLER
    most = most_memory(requests, budget)
    print(
        f"a real store: budget {budget / 1e6:.1f} MB, largest state {largest / 1e6:.1f} MB, "
        f"took {most / 1e6:.1f} MB at most"
    )
    print(f"default ({DEFAULT}): {worst:.1%} of the optimum or more, limit {LIMIT:.0%}")
    allowed = budget + largest + BOOKS * len(states)
    sys.exit(0 if worst >= LIMIT and most <= allowed else 1)


if __name__ == "__main__":
    main()
