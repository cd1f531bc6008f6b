"""An evaluation that can be stopped and gone on with: a line of JSON for each result.

The first line holds the settings; a file made with other ones is not added to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from minillm.checkpoint import LoadedModel
from pml.eval.items import Item
from pml.eval.modes import FULL, Mode
from pml.eval.question import Asker, Result
from pml.eval.tasks import Task
from pml.quality import QUALITIES

VERSION = 2

Progress = Callable[[int, int], None]
"""Told how many items are done, and of how many."""


def _qualities() -> dict[str, dict[str, Any]]:
    return {
        name: {f.name: v for f in fields(one) if (v := getattr(one, f.name)) != f.default}
        for name, one in QUALITIES.items()
    }


@dataclass(frozen=True)
class Settings:
    """What results depend on, timings aside. `model` is its weights' fingerprint, and behind
    "against" that of its teacher, if it has one. `qualities` are what they compute again."""

    task: str
    model: str
    dtype: str
    documents: int
    left_out: int
    qualities: dict[str, dict[str, Any]] = field(default_factory=_qualities)
    version: int = VERSION


class Results:
    """The results in a file, of one task and one model."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self.results: dict[tuple[str, str], Result] = {}
        if path.exists():
            self._read()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"settings": asdict(settings)}) + "\n", encoding="utf-8")

    def _read(self) -> None:
        """Raises `ValueError` for results of other settings. A line that was cut off at the end
        is left out, and the file ends before it."""
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        head, *lines = whole.split("\n")
        found = json.loads(head)["settings"] if head else None
        if found != asdict(self.settings):
            raise ValueError(
                f"{self.path}: made with {found}, expected {asdict(self.settings)}; "
                "take another --out"
            )
        self.path.write_text(whole + "\n", encoding="utf-8")
        for line in lines:
            result = Result(**json.loads(line))
            self.results[result.item, result.mode] = result

    def add(self, results: Sequence[Result]) -> None:
        """Keep those that are new."""
        new = [r for r in results if (r.item, r.mode) not in self.results]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(asdict(result)) + "\n" for result in new))
        self.results |= {(result.item, result.mode): result for result in new}

    def lacks(self, item: Item, mode: Mode) -> bool:
        return (item.id, mode.name) not in self.results


def evaluate(
    model: LoadedModel,
    task: Task,
    items: Sequence[Item],
    modes: Sequence[Mode],
    results: Results,
    progress: Progress | None = None,
    teacher: LoadedModel | None = None,
) -> None:
    """Ask every item in every mode that `results` lacks."""
    askers: dict[tuple[str, ...], Asker] = {}
    for done, item in enumerate(items):
        if progress:
            progress(done, len(items))
        missing = [mode for mode in modes if results.lacks(item, mode)]
        if missing:
            names = tuple(mode.name for mode in missing if mode.name != FULL)
            if names not in askers:
                askers = {names: Asker(model, task, missing, teacher)}
            results.add(askers[names].ask(item))
