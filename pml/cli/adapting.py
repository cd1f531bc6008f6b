"""`pml adapt`: a checkpoint whose modules lose less of what they cannot see."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from minillm.console import Failure, duration, note, print_json
from minillm.flags import (
    Checkpoint,
    JsonFlag,
    ThreadsFlag,
    VerboseFlag,
    WeightsName,
    load_model,
)
from minillm.special_tokens import MAX_HEADER

if TYPE_CHECKING:
    from minillm.checkpoint import LoadedModel
    from pml.adapt.training import Progress, Recipe, Trainer

EVERY = 60
"""Seconds, after which progress is told and the state is kept."""


def adapt(
    folder: Checkpoint,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The new checkpoint.")],
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", metavar="PATH", help="Plain text to train on, or a folder of .txt."),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, metavar="M", help="Of training, at most.")
    ] = 100,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, metavar="N", help="At most, to the same bits.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of all chance.")] = 0,
    header: Annotated[
        int,
        typer.Option(
            "--header",
            min=0,
            max=MAX_HEADER,
            metavar="N",
            help="Train one of N tokens, and no weights.",
        ),
    ] = 0,
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", metavar="FILE", help="Take this one, and train nothing."),
    ] = None,
    as_json: JsonFlag = False,
    threads: ThreadsFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Train a checkpoint on itself, until modules answer more as under full attention."""
    if out.exists():
        raise Failure(f"{out}: exists already")
    prose, state = _words(text or []), out.with_name(f"{out.name}.training")
    model = load_model(folder, "float32", "cpu", threads, WeightsName.plain)
    from pml.adapt.adapter import load_adapter, write_adapted

    if adapter is not None:
        weights, facts = load_adapter(adapter)
        if facts.get("fingerprint") != model.fingerprint:
            raise Failure(f"{adapter}: was trained for {facts.get('of')}, not for {folder}")
    else:
        from pml.adapt.training import recipe_of

        names, recipe = [path.name for path in text or []], recipe_of(seed, header)
        trainer, facts = _trained(model, prose, names, state, minutes, steps, recipe)
        weights = dict(trainer.average)
    write_adapted(folder, out, weights, facts)
    if adapter is None:
        state.unlink()
    if as_json:
        print_json({"folder": str(out), **facts})
    else:
        far = facts.get("held-out KL", "an unknown number of")
        print(f"{out}: {far} nats from full attention, on texts held out")


@dataclass
class _Watch:
    """Tells how training goes, keeps its state, and says when it is enough."""

    trainer: Trainer
    state: Path
    settings: dict[str, str]
    minutes: float
    steps: int | None
    kept: float = 0.0

    def __call__(self, progress: Progress) -> bool:
        enough = progress.seconds >= 60 * self.minutes
        enough |= self.steps is not None and progress.step >= self.steps
        if progress.losses and (enough or progress.seconds >= self.kept + EVERY):
            self.kept = progress.seconds
            self.trainer.save(self.state, self.settings)
            kl, took = mean(progress.losses[-25:]), duration(progress.seconds)
            note(f"step {progress.step}: {kl:.4f} nats, {took} of {self.minutes:g} min")
        return enough


def _trained(
    model: LoadedModel,
    prose: Sequence[str],
    names: Sequence[str],
    state: Path,
    minutes: float,
    steps: int | None,
    recipe: Recipe,
) -> tuple[Trainer, dict[str, str]]:
    """The trainer when it is done, and where its adapter comes from."""
    from pml.adapt.training import Trainer

    trainer = Trainer(model, prose, recipe)
    settings = {name: str(value) for name, value in asdict(recipe).items()}
    settings |= {"fingerprint": model.fingerprint}
    settings |= {"sha256 of the words": hashlib.sha256(" ".join(prose).encode()).hexdigest()}
    if state.is_file():
        trainer.resume(state, settings)
        note(f"going on after step {trainer.progress.step}, which {state} keeps")
    progress = trainer.progress
    note(f"before: {progress.before:.4f} nats from full attention, on texts held out")
    trainer.run(_Watch(trainer, state, settings, minutes, steps, progress.seconds))
    facts = {
        "of": model.name,
        "trained on": "; ".join(["invented records", *names]),
        "steps": str(progress.step),
        "minutes": f"{progress.seconds / 60:.1f}",
        "held-out KL": f"{progress.before:.4f} -> {trainer.held_out():.4f}",
    }
    return trainer, facts | settings


def _words(paths: Sequence[Path]) -> list[str]:
    """Of the texts, one after the other; none where there are no paths."""
    from pml.adapt.texts import LEAST_WORDS

    words = [word for path in paths for file in _files(path) for word in _text(file).split()]
    if paths and len(words) < LEAST_WORDS:
        named = ", ".join(map(str, paths))
        raise Failure(f"{named}: {len(words):,} words, expected {LEAST_WORDS:,} at least")
    return words


def _files(path: Path) -> Iterator[Path]:
    yield from sorted(path.glob("*.txt")) if path.is_dir() else [path]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Failure(f"{path}: no text in UTF-8: {error.reason} at byte {error.start}") from None
