"""`make eval`: every evaluation of docs/results.md, then its tables and plots from what was found.

    PML_DATA=DIR python scripts/evaluate.py [--only NAME] [--page]

Each run can be stopped and goes on where it was (`eval-results/`). `--page` runs nothing and writes
the tables of docs/results.md from docs/results/*.json.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from minillm.console import note
from pml.eval.page import with_tables

ROOT = Path(__file__).parents[1]
PAGE, FOUND = ROOT / "docs" / "results.md", ROOT / "docs" / "results"
SMOLLM2 = "smollm2-135m-instruct"
LEVERS = (
    "full,fast,isolated,joint,scaffold,exact,first-16,values-30,both-30,attended-40,attended-60,"
    "attended-20+values-15"
)
FEWER = "full,fast,isolated,joint,scaffold,exact,first-16,values-30,attended-40"
RUNS = {
    "records": ["eval", "records", "--count", "55", "--modes", LEVERS],
    "nq": ["eval", "nq", "--count", "20", "--modes", FEWER],
    "gaps": ["gaps", "--count", "20"],
}
"""What is run with SmolLM2: the name of its JSON, and the command's arguments."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the evaluations of docs/results.md.")
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--page", action="store_true", help="run nothing, write the page")
    arguments = parser.parse_args()
    for name in [] if arguments.page else [arguments.only] if arguments.only else RUNS:
        run(name)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), FOUND), encoding="utf-8")


def run(name: str) -> None:
    if name == "nq" and "PML_DATA" not in os.environ:
        note(f"{name}: skipped, PML_DATA names no folder of data")
        return
    note(f"{name}: {' '.join(RUNS[name])}")
    command = [Path(sys.executable).with_name("pml"), *RUNS[name], "--model", f"weights/{SMOLLM2}"]
    picture = ROOT / "docs" / f"results-{name}.svg"
    done = subprocess.run(
        [*command, "--json", "--svg", picture], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    FOUND.mkdir(exist_ok=True)
    (FOUND / f"{name}.json").write_bytes(re.sub(rb'(\{"(?:mode|gap)")', rb"\n\1", done.stdout))


if __name__ == "__main__":
    main()
