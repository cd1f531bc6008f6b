"""Self-distillation: the model under full attention teaches the model that reads modules.

Everything of a step is drawn from the seed and the step's number, and all else is in the kept
state: training that was broken off and goes on gives the same bits as training at one go.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from minillm.checkpoint import LoadedModel, header_ids
from minillm.errors import LoadError
from minillm.gradients import Differentiable
from minillm.tokenizer import Tokenizer
from pml.adapt.adapter import Adapter, adapted, headed, trained
from pml.adapt.rows import Row, rows
from pml.adapt.texts import INSTRUCTIONS, Sample, sample

HELD_OUT = 8


@dataclass(frozen=True)
class Recipe:
    """`average` is of the moving average of the weights, which is what counts: training has no
    schedule and may end at any step. With `header`, one of so many tokens is trained instead of an
    adapter of rank `rank`."""

    seed: int = 0
    rank: int = 16
    header: int = 0
    lr: float = 2e-3
    warm_up: int = 8
    average: float = 0.98


def recipe_of(seed: int, header: int) -> Recipe:
    """What was found to do well: for an adapter, or for a header of so many tokens if any."""
    return Recipe(seed, rank=0, header=header, lr=2e-2) if header else Recipe(seed)


@dataclass
class Progress:
    """`before` is the held-out KL of the model as it is, `losses` that of every step."""

    before: float
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


class Trainer:
    """`model` has plain weights (`minillm/linear.py`). `prose` are the words of any text, or none;
    their last tenth is held out."""

    def __init__(self, model: LoadedModel, prose: Sequence[str], recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        cut = len(prose) * 9 // 10
        self._prose, self._held_out = prose[:cut], prose[cut:]
        if recipe.header:
            words = cycle(model.tokenizer.encode(INSTRUCTIONS[0]))
            student = headed(model.transformer, [*islice(words, recipe.header)])
        else:
            student = adapted(model.transformer, recipe.rank, recipe.seed)
        header = header_ids(model.config, recipe.header) or model.tokenizer.header_ids
        self._tokenizer = model.tokenizer.with_header(header)
        self.weights = trained(student)
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._teacher, self._student = Differentiable(model.transformer), Differentiable(student)
        self._optimizer = torch.optim.AdamW(
            self.weights.values(), recipe.lr, betas=(0.9, 0.98), weight_decay=0.0
        )
        self._progress: Progress | None = None

    @property
    def progress(self) -> Progress:
        if self._progress is None:
            self._progress = Progress(self._on_held_out(self._teacher, self.model.tokenizer))
        return self._progress

    def run(self, enough: Callable[[Progress], bool]) -> None:
        """Train until `enough`, asked before every step, says so."""
        while not enough(self.progress):
            started = time.perf_counter()
            self._step()
            self.progress.seconds += time.perf_counter() - started

    def held_out(self) -> float:
        """Mean KL by the averaged weights, on samples that training does not draw."""
        own = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._take(self.average)
        found = self._on_held_out(self._student, self._tokenizer)
        self._take(own)
        return found

    @torch.no_grad()
    def _on_held_out(self, student: Differentiable, tokenizer: Tokenizer) -> float:
        chances = (random.Random(f"held out {n}") for n in range(HELD_OUT))
        drawn = (sample(chance, self._held_out) for chance in chances)
        return mean(float(self._loss(one, student, tokenizer)) for one in drawn)

    def _loss(self, drawn: Sample, student: Differentiable, tokenizer: Tokenizer) -> Tensor:
        """Mean Kullback-Leibler, nats, of the student's next tokens from the teacher's."""
        full, modular = rows(drawn, self.model, tokenizer)
        with torch.no_grad():
            p = _log_probabilities(self._teacher, full)
        q = _log_probabilities(student, modular)
        return (p.exp() * (p - q)).sum(-1).mean()

    def save(self, path: Path, settings: dict[str, str]) -> None:
        state = {
            "settings": settings,
            "weights": {name: weight.detach() for name, weight in self.weights.items()},
            "average": self.average,
            "optimizer": self._optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        partial = path.with_name(f"{path.name}.partial")
        torch.save(state, partial)
        partial.rename(path)

    def resume(self, path: Path, settings: dict[str, str]) -> None:
        """Raises `LoadError` for what `save` did not write with these settings."""
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            kept = state["settings"]
        except Exception as error:
            raise LoadError(f"{path}: no state of a training; remove it to start anew") from error
        if kept != settings:
            raise LoadError(f"{path}: of a training of {kept}, not of {settings}; remove it")
        self._take(state["weights"])
        self.average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._progress = Progress(**state["progress"])

    def _step(self) -> None:
        progress, recipe = self.progress, self.recipe
        pace = min(1.0, (progress.step + 1) / recipe.warm_up)
        self._optimizer.param_groups[0]["lr"] = recipe.lr * pace
        self._optimizer.zero_grad()
        drawn = sample(random.Random(f"{recipe.seed} {progress.step}"), self._prose)
        loss = self._loss(drawn, self._student, self._tokenizer)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self._optimizer.step()
        progress.step += 1
        progress.losses.append(float(loss.detach()))
        kept = min(recipe.average, progress.step / (progress.step + 10))
        for name, weight in self.weights.items():
            self.average[name].lerp_(weight.detach(), 1 - kept)

    def _take(self, weights: Adapter) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(weights[name])


def _log_probabilities(model: Differentiable, row: Row) -> Tensor:
    """Of what follows each token of the continuations."""
    hidden = model.hidden(row.tokens, row.positions, row.sees)[0]
    return model.logits(hidden[row.first :]).log_softmax(-1)
