"""How long `pml discover` takes, and that it takes n·log n: 25,000, 50,000 and 100,000 prompts.

    PML_DATA=DIR OMP_NUM_THREADS=1 python scripts/bench_discover.py [--prompts 100000]

DIR holds gsm8k, banking77 and qmsum, of which the prompts are made; without it they are made of the
small parts in the tests. One thread. Reading, proposing, rewriting and writing are all in the time.
"""

from __future__ import annotations

import argparse
import math
import os
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
    print("  prompts        MB   seconds  us per MB·log2(prompts)")
    for size in (most // 4, most // 2, most):
        megabytes, seconds = measured(kinds, size)
        growth = 1e6 * seconds / (megabytes * math.log2(size))
        print(f"{size:9,} {megabytes:9,.0f} {seconds:9.1f}  {growth:,.0f}", flush=True)


def measured(kinds: Kinds, size: int) -> tuple[float, float]:
    """The log's size in MB and the command's seconds, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with (home / "log.jsonl").open("w") as file:
            for part in range(0, size, 1000):
                file.writelines(map(as_line, kinds.log(min(1000, size - part), seed=part)))
        arguments = ["discover", "log.jsonl", "-o", "schema.pml", "--prompts", "out.jsonl"]
        code = f"from pml.cli import app; app({arguments!r})"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=home, env=environment, check=True)
        return (home / "log.jsonl").stat().st_size / 1e6, time.perf_counter() - start


if __name__ == "__main__":
    main()
