"""`make eval`: every evaluation of docs/results.md, then its tables and plots from what was found.

    PML_DATA=DIR python scripts/evaluate.py [--only NAME] [--page]

Each run can be stopped and goes on where it was (`eval-results/`). `--page` runs nothing and makes
the tables of docs/results.md, and its pictures, of docs/results/*.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from minillm.console import note
from pml.eval.page import picture, with_tables
from pml.eval.tasks import TASKS

ROOT = Path(__file__).parents[1]
PAGE, FOUND = ROOT / "docs" / "results.md", ROOT / "docs" / "results"
SMOLLM2 = "weights/smollm2-135m-instruct"
ADAPTED, HEADED = "weights/smollm2-135m-adapted", "weights/smollm2-135m-headed"
TINY, FALCON = "weights/tiny-llama", "weights/tiny-falcon"
MPT, FALCON_ALIBI = "weights/tiny-mpt", "weights/tiny-falcon-alibi"
QUALITIES = "full,fast,balanced,exact"
READ = "full,fast,read-25+values-20,exact"
LONG = "full,fast,sought-5,sought-10,balanced,exact"
PLAIN = "full,fast,isolated,scaffold,balanced,exact"
LEVERS = "full,fast,isolated,fixed,joint,scaffold,balanced,exact,first-16,slots,after-8,attended-40"
MORE = f"{LEVERS},values-30,read-30,sought-30,attended-60,attended-20+values-15,fixed+values-30"

Run = tuple[str, ...]


def asked(task: str, count: int, *more: str, modes: str = QUALITIES, model: str = SMOLLM2) -> Run:
    counted = ("--count", str(count), *more)
    return ("eval", task, "--model", model, "--modes", modes, *counted)


def gaps(model: str) -> Run:
    return ("gaps", "--model", model, "--task", "tiny-facts", "--count", "60")


RUNS: dict[str, Run] = {
    "records": asked("records", 200, modes=MORE),
    "adapted": asked("records", 110, "--teacher", SMOLLM2, modes=READ, model=ADAPTED),
    "adapted-nq": asked("nq", 50, "--teacher", SMOLLM2, modes=READ, model=ADAPTED),
    "headed": asked("records", 200, "--teacher", SMOLLM2, model=HEADED),
    "headed-nq": asked("nq", 50, "--teacher", SMOLLM2, model=HEADED),
    "nq-qualities": asked("nq", 200),
    "nq": asked("nq", 40, modes=LEVERS),
    "xquad": asked("xquad", 200, "--documents", "3"),
    "hotpot": asked("hotpot", 97),
    "kv": asked("kv", 40, "--documents", "5"),
    "qmsum": asked("qmsum", 76, modes=LONG),
    "banking77": asked("banking77", 200),
    "tiny-facts": asked("tiny-facts", 300, modes=LEVERS, model=TINY),
    "tiny-falcon": asked("tiny-facts", 300, modes=LEVERS, model=FALCON),
    "tiny-mpt": asked("tiny-facts", 300, modes=LEVERS, model=MPT),
    "tiny-falcon-alibi": asked("tiny-facts", 300, modes=LEVERS, model=FALCON_ALIBI),
    "tiny-llama-modular": asked("tiny-facts", 300, modes=PLAIN, model=f"{TINY}-modular"),
    "tiny-falcon-modular": asked("tiny-facts", 300, modes=PLAIN, model=f"{FALCON}-modular"),
    "tiny-mpt-modular": asked("tiny-facts", 300, modes=PLAIN, model=f"{MPT}-modular"),
    "tiny-falcon-alibi-modular": asked(
        "tiny-facts", 300, modes=PLAIN, model=f"{FALCON_ALIBI}-modular"
    ),
    "gaps": ("gaps", "--model", SMOLLM2, "--count", "20"),
    "gaps-tiny-llama": gaps(TINY),
    "gaps-tiny-mpt": gaps(MPT),
    "gaps-tiny-falcon-alibi": gaps(FALCON_ALIBI),
}
"""The name of the JSON, and the command's arguments. More questions: results stay, so a larger
`--count` asks only those that are new."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the evaluations of docs/results.md.")
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--page", action="store_true", help="run nothing, write the page")
    arguments = parser.parse_args()
    for name in [] if arguments.page else [arguments.only] if arguments.only else RUNS:
        run(name)
    page = with_tables(PAGE.read_text(encoding="utf-8"), FOUND)
    PAGE.write_text(page, encoding="utf-8")
    for path in FOUND.glob("*.json"):
        if (drawn := f"results-{path.stem}.svg") in page:
            svg = picture(json.loads(path.read_text(encoding="utf-8")))
            PAGE.with_name(drawn).write_text(svg, encoding="utf-8")


def run(name: str) -> None:
    command, task = RUNS[name], TASKS.get(RUNS[name][1])
    if task and task.needs_data and "PML_DATA" not in os.environ:
        note(f"{name}: skipped, PML_DATA names no folder of data")
        return
    for trained in {ADAPTED, HEADED}.intersection(command):
        if not (ROOT / trained).exists():
            note(f"{name}: skipped, {trained} is not there: see docs/adapt.md")
            return
    note(f"{name}: pml {' '.join(command)}")
    pml = Path(sys.executable).with_name("pml")
    done = subprocess.run([pml, *command, "--json"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    FOUND.mkdir(exist_ok=True)
    (FOUND / f"{name}.json").write_bytes(re.sub(rb'(\{"(?:mode|gap)")', rb"\n\1", done.stdout))


if __name__ == "__main__":
    main()
