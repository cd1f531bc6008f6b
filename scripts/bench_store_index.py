"""The store's index with many states: opening it, a look-up, a page of `pml store ls`.

    python scripts/bench_store_index.py [--states 100000]

Rows are made without files; what is measured reads none. Each figure stands beside its limit.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median

from pml.store.folder import StateFolder
from pml.store.index import Row
from pml.store.keys import SegmentKey


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=100_000)
    count = parser.parse_args().states
    with tempfile.TemporaryDirectory() as folder:
        keys = fill(Path(folder), count)
        print(f"{count:,} states      measured       limit    ratio")
        opened = median(timed(lambda: StateFolder(folder).close()) for _ in range(5))
        told("open", opened, 0.2)
        states = StateFolder(folder)
        some = Random(1).sample(keys, min(count, 5000))
        others = [SegmentKey(key.digest[::-1], key.origin, ()) for key in some]
        told("look-up", each(states.find, some), 50e-6)
        told("look-up, miss", each(states.find, others), 50e-6)
        last = (keys[count // 2].digest, 0)
        page = each(lambda _: states.index.rows(after=last, limit=50), some[:100])
        told("page of 50", page, 0.05)
        states.close()


def fill(folder: Path, count: int) -> list[SegmentKey]:
    states, rows = StateFolder(folder), []
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        name = hashlib.sha256(digest.encode()).hexdigest()
        stamp = f"1000-{number}-{number}-{number}"
        known = (digest, number % 7, name, 1000, digest[:32], stamp, 0.1, f"/module/{number}", "")
        rows.append(Row(*known, "native", 0.0, None, float(number), 1, number / 7, 0))
    with states.index.writing():
        for row in rows:
            states.index.add(row)
    states.close()
    return [row.key for row in rows]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def each(work: Callable[[SegmentKey], object], keys: list[SegmentKey]) -> float:
    """Seconds of this process for one key: other processes do not count."""
    started = time.process_time()
    for key in keys:
        work(key)
    return (time.process_time() - started) / len(keys)


def told(what: str, seconds: float, limit: float) -> None:
    unit, scale = ("ms", 1e3) if limit > 1e-3 else ("µs", 1e6)
    measured, allowed = f"{seconds * scale:.3g} {unit}", f"{limit * scale:.3g} {unit}"
    print(f"{what:<18}{measured:>12}{allowed:>12}{seconds / limit:>9.2f}")


if __name__ == "__main__":
    main()
