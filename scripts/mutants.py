"""Whether the laws notice: one thing is made wrong in a copy of the code, and a law must fail.

    python scripts/mutants.py [--check] [NAME …]

`tests/mutants/*.toml` lists what is made wrong: in a file, a text and what replaces it, the law
that must fail, and the bug of the real world that it stands for. First the laws are run on the code
as it is. Each run is a process of its own on one thread, two at a time. Writes `docs/mutants.md`,
unless only some are named; ends with 1 if one survives. `--check` only asks if every text is still
there, exactly once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLES = ROOT / "tests" / "mutants"
PAGE = ROOT / "docs" / "mutants.md"
COPIED = ("minillm", "pml", "tests", "pyproject.toml")
WORKERS = 2
LIMIT = 600
"""Seconds for each law of a run. A law that hangs has not failed."""

INTRODUCTION = """# What the laws notice

Each line is a mistake put into a copy of the code on purpose, one that other implementations have
or that is easily written here, and the law that fails then. `make mutants` tries all of them again
and writes this page; the exact texts are in `tests/mutants`.
"""


@dataclass(frozen=True)
class Mutant:
    """In `file` the text `find`, which must occur once, becomes `put`; then `law` must fail."""

    name: str
    file: str
    find: str
    put: str
    law: str
    bug: str

    def apply(self, root: Path) -> None:
        path = root / self.file
        source = path.read_text()
        if (count := source.count(self.find)) != 1:
            sys.exit(f"{self.file}: the text of the mutant {self.name!r} occurs {count} times")
        path.write_text(source.replace(self.find, self.put))


@dataclass(frozen=True)
class Outcome:
    """How a run of pytest ended; `reason` is its own line about the first failure."""

    verdict: str
    reason: str
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only if the texts are still there")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    arguments = parser.parse_args()
    mutants = read_tables()
    if unknown := set(arguments.names) - {mutant.name for mutant in mutants}:
        parser.error(f"there is no mutant {min(unknown)!r}")
    if arguments.check:
        with copied() as root:
            for mutant in mutants:
                mutant.apply(root)
                shutil.copy(ROOT / mutant.file, root / mutant.file)
        print(f"{len(mutants)} mutants, each text occurs once")
        return 0
    chosen = [m for m in mutants if m.name in (arguments.names or (m.name,))]
    if not laws_hold(sorted({mutant.law for mutant in chosen})):
        return 1
    outcomes = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for mutant, outcome in zip(chosen, pool.map(run, chosen), strict=True):
            outcomes.append(outcome)
            law = mutant.law.rpartition("::")[2]
            print(f"{outcome.verdict:9} {outcome.seconds:5.1f} s  {mutant.name:42} {law}")
            print(f"{'':19}{outcome.reason}", flush=True)
    killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    print(f"{killed} of {len(chosen)} mutants killed")
    if not arguments.names:
        PAGE.write_text(page(chosen, outcomes))
    return int(killed < len(chosen))


def read_tables() -> list[Mutant]:
    tables = [tomllib.loads(path.read_text()) for path in sorted(TABLES.glob("*.toml"))]
    return [Mutant(**entry) for table in tables for entry in table["mutant"]]


def laws_hold(laws: Sequence[str]) -> bool:
    """Whether the laws hold for the code as it is; each worker runs a share of them."""
    shares = [share for first in range(WORKERS) if (share := laws[first::WORKERS])]
    with copied() as root, ThreadPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(lambda share: pytest(root, share), shares))
    holds = all(outcome.verdict == "survived" for outcome in outcomes)
    seconds = max(outcome.seconds for outcome in outcomes)
    print(f"{len(laws)} laws {'hold' if holds else 'do NOT hold'} as it is, {seconds:.0f} s")
    for outcome in outcomes:
        print(outcome.reason, end="\n" if outcome.reason else "")
    return holds


def run(mutant: Mutant) -> Outcome:
    with copied() as root:
        mutant.apply(root)
        return pytest(root, [mutant.law])


def pytest(root: Path, laws: Sequence[str]) -> Outcome:
    """Run `laws` of the copy at `root`. Killed means that a test failed, nothing else does."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", *laws]
    settings = {"OMP_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "mutants", "COLUMNS": "240"}
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=LIMIT * len(laws),
        )
    except subprocess.TimeoutExpired:
        limit = LIMIT * len(laws)
        return Outcome("hung", f"no end after {limit} s", limit)
    verdict = {0: "survived", 1: "killed"}.get(done.returncode, "broken")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    reason = failed[0].partition(" - ")[2] if failed else ""
    if "hypothesis.errors" in reason:  # It stumbled over itself: nothing is shown.
        verdict = "broken"
    elif verdict == "broken":
        reason = done.stdout[-2000:] + done.stderr[-2000:]
    return Outcome(verdict, reason, time.perf_counter() - started)


@contextmanager
def copied() -> Iterator[Path]:
    """The code and the tests in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder) / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
        yield Path(folder)


def page(mutants: Sequence[Mutant], outcomes: Sequence[Outcome]) -> str:
    rows = ["| made wrong | in | stands for | killed by |", "|---|---|---|---|"]
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        law = mutant.law.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        killer = law if outcome.verdict == "killed" else f"**{outcome.verdict}** ({law})"
        rows.append(f"| {mutant.name} | `{mutant.file}` | {mutant.bug} | {killer} |")
    return "\n".join((INTRODUCTION, *rows, ""))


if __name__ == "__main__":
    sys.exit(main())
