"""How long `pml discover` takes, and that it takes n·log n: 25,000, 50,000 and 100,000 prompts.

    PML_DATA=DIR OMP_NUM_THREADS=1 python scripts/bench_discover.py [--prompts 100000]

DIR holds gsm8k, banking77 and qmsum, of which the prompts are made; without it they are made of the
small parts in the tests. One thread; reading, proposing, rewriting and writing are all in the time.
CPU seconds tell more than elapsed ones on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "pml"))

from prompt_logs import DATA, Kinds, as_line  # noqa: E402

LIMIT_S = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=100_000)
    most = parser.parse_args().prompts
    folder = Path(os.environ.get("PML_DATA", DATA))
    kinds = Kinds(folder)
    print(f"of {folder}, one thread; limit {LIMIT_S} s for 100,000 prompts")
    print("  prompts   MB  seconds  CPU s  memory  CPU ms per MB and log2(prompts)", flush=True)
    for size in (most // 4, most // 2, most):
        megabytes, seconds, cpu = measured(kinds, size)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        growth = 1e3 * cpu / (megabytes * math.log2(size))
        print(
            f"{size:9,} {megabytes:4,.0f} {seconds:8.1f} {cpu:6.1f} {memory:4,} MB  {growth:.2f}",
            flush=True,
        )


def measured(kinds: Kinds, size: int) -> tuple[float, float, float]:
    """The log's size in MB, and the command's seconds on the clock and of CPU."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with (home / "log.jsonl").open("w") as file:
            for part in range(0, size, 1000):
                file.writelines(map(as_line, kinds.log(min(1000, size - part), seed=part)))
        arguments = ["discover", "log.jsonl", "-o", "schema.pml", "--prompts", "out.jsonl"]
        code = f"from pml.cli import app; app({arguments!r})"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        start, cpu = time.perf_counter(), _cpu_of_children()
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=home,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - start
        return (home / "log.jsonl").stat().st_size / 1e6, seconds, _cpu_of_children() - cpu


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
