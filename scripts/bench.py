"""How fast this is, beside its peers and the machine's limits: `make bench`.

    python scripts/bench.py --model weights/smollm2-135m-instruct [--only TABLE …]

Prints each table, and keeps it in `benchmarks/results.json`, from which docs/performance.md and the
picture of the README are made. What is compared is measured in turn, each figure a median after a
warm-up. Peers run the same weights on the same tokens and threads, from `.venv-peers` (`make
bench` makes it); without it their columns are left out. Run it alone: two jobs on the same cores
slow one another many times over.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from speed import page
from speed.measure import PEERS, ROOT, BenchRun, machine_facts
from speed.tables import TABLES

from minillm.bench import faster_dtype

RESULTS = ROOT / "benchmarks/results.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "weights/smollm2-135m-instruct")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="default: the faster one")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--only", nargs="+", choices=TABLES, metavar="TABLE", help=", ".join(TABLES)
    )
    parser.add_argument("--page", action="store_true", help="run nothing, make the page anew")
    arguments = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not arguments.page:
        dtype = getattr(torch, arguments.dtype) if arguments.dtype else faster_dtype()
        bench = BenchRun(arguments.model, dtype, arguments.repeats, (PEERS / "bin/python").exists())
        facts = machine_facts(bench)
        print(json.dumps(facts))
        for name in arguments.only or TABLES:
            started = time.perf_counter()
            rows = TABLES[name](bench)
            found[name] = {"machine": facts, "rows": rows}
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(
                f"\n{name}, {time.perf_counter() - started:.0f} s\n{page.table(rows)}", flush=True
            )
        for peer in bench.peers.values():
            peer.close()
    page.write(ROOT, found)


if __name__ == "__main__":
    main()
