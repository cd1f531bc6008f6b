"""What the tiny checkpoints answer, by kind of question and with or without reuse, as a table.

python scripts/score_tiny.py 200        for docs/training.md: 200 questions of each kind
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tiny.facts import KINDS

from minillm.checkpoint import LoadedModel, load
from pml.eval.modes import FULL, mode
from pml.eval.question import Asker
from pml.eval.tasks import TASKS

WEIGHTS = Path(__file__).parent.parent / "weights"
WAYS = (FULL, "isolated", "fast", "balanced", "scaffold", "exact")

Scores = Mapping[tuple[str, str], float]
"""The share of exactly right answers by way and kind."""


def scores(model: LoadedModel, ways: Sequence[str], each: int) -> Scores:
    """Of the first `each` questions of every kind."""
    task = TASKS["tiny-facts"]
    asker, found = Asker(model, task, [mode(way) for way in ways]), defaultdict(list)
    for item in task.items(None, None, left_out=0, count=each * len(KINDS)):
        kind = item.id.partition("-")[0]
        for result in asker.ask(item):
            found[result.mode, kind].append(result.score)
    return {key: sum(values) / len(values) for key, values in found.items()}


def main() -> None:
    torch.set_num_threads(1)
    print("| checkpoint | kind |", " | ".join(WAYS), "|")
    print("|---|---|", "---:|" * len(WAYS), sep="")
    for folder in sorted(WEIGHTS.glob("tiny-*")):
        found = scores(load(folder), WAYS, int(sys.argv[1]))
        for kind in KINDS:
            cells = (f"{100 * found[way, kind]:.1f}" for way in WAYS)
            print(f"| {folder.name} | {kind} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
