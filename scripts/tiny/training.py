"""Training a tiny model: a curriculum that moves on when a stage is mastered, and can be resumed.

Everything of a step is drawn from the seed and the step's number, and all else is in the kept
state: training that was broken off and goes on gives the same weights as training at one go.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from minillm.gradients import Differentiable
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer
from tiny.facts import samples
from tiny.muon import Muon
from tiny.rows import (
    ANSWER_TOKENS,
    ANSWERS,
    TEXT,
    WEIGHTS,
    Batch,
    Row,
    batch,
    fact_row,
    gaps,
    groups,
    missed,
    prose_row,
)


@dataclass(frozen=True)
class Stage:
    """Everyone has `own` facts by name and `linked` ones by number; a third of the later stages'
    steps are of the first stage's."""

    own: int
    linked: int
    gaps: bool = False


STAGES = (Stage(1, 1), Stage(2, 1), Stage(2, 1, gaps=True))
PEOPLE = (2, 3, 4)
MASTERED = 0.6
"""The probability of the right first token of an answer, over some 20 steps, to move on at."""


@dataclass(frozen=True)
class Recipe:
    """`modular` hides documents from one another, in random groups."""

    steps: int
    rows: int = 12
    prose_rows: int = 1
    seed: int = 0
    modular: bool = False
    matrix_lr: float = 0.004
    lr: float = 0.002
    first_stage: int = 0


_MODULAR = Recipe(steps=100, seed=1, modular=True, first_stage=len(STAGES) - 1)
RECIPES = {
    "tiny-llama": Recipe(steps=300),
    "tiny-falcon": Recipe(steps=300),
    "tiny-falcon-alibi": Recipe(steps=900),
    "tiny-mpt": Recipe(steps=700),
    "tiny-llama-modular": _MODULAR,
    "tiny-falcon-modular": _MODULAR,
    "tiny-falcon-alibi-modular": replace(_MODULAR, steps=900),
    "tiny-mpt-modular": replace(_MODULAR, steps=2000),
}


@dataclass
class Progress:
    step: int = 0
    stage: int = 0
    mastery: float = 0.0
    cpu_seconds: float = 0.0
    losses: list[tuple[float, ...]] = field(default_factory=list)
    """Of every 25 steps: the last one's number, its stage, the mean losses of text, and of answers
    by kind."""


class Trainer:
    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, prose: Sequence[int], recipe: Recipe
    ) -> None:
        self.model, self.recipe = model, recipe
        self.progress = Progress(stage=recipe.first_stage)
        self._tokenizer, self._prose = tokenizer, prose
        self._differentiable = Differentiable(model)
        inside = [weight for weight in model.blocks.parameters() if weight.dim() == 2]
        others = [weight for weight in model.parameters() if all(weight is not w for w in inside)]
        self._optimizers = (
            Muon(inside, recipe.matrix_lr),
            torch.optim.AdamW(others, recipe.lr, betas=(0.9, 0.98), weight_decay=0.0),
        )
        self._sums: list[list[float]] = []

    def run(self, told: Callable[[Progress], None], until: int | None = None) -> None:
        """Train up to the step `until`, or to the end; `told` hears every 25 steps."""
        while self.progress.step < (until or self.recipe.steps):
            started = time.process_time()
            self._step()
            self.progress.cpu_seconds += time.process_time() - started
            if self.progress.step % 25 == 0:
                told(self.progress)

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "progress": vars(self.progress),
            "sums": self._sums,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(path)

    def resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.progress = Progress(**state["progress"])
        self._sums = state["sums"]

    def _step(self) -> None:
        progress = self.progress
        found = self._batch(random.Random(f"{self.recipe.seed} {progress.step}"))
        losses = self._losses(found)
        weights = WEIGHTS[found.marks]
        loss = (losses * weights).sum() / weights.sum()
        for optimizer, lr in zip(
            self._optimizers, (self.recipe.matrix_lr, self.recipe.lr), strict=True
        ):
            optimizer.param_groups[0]["lr"] = lr * self._pace()
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        self._note(losses.detach(), found.marks)

    def _pace(self) -> float:
        """Of the learning rates: ten steps to warm up, the last two fifths to slow down."""
        step, steps = self.progress.step, self.recipe.steps
        return min(1.0, (step + 1) / 10, 0.02 + (steps - step) / (0.4 * steps))

    def _losses(self, found: Batch) -> Tensor:
        hidden = self._differentiable.hidden(found.tokens, found.positions, found.sees)
        logits = self._differentiable.logits(hidden.flatten(0, 1)[found.places])
        return F.cross_entropy(logits, found.targets, reduction="none")

    def _note(self, losses: Tensor, marks: Tensor) -> None:
        progress = self.progress
        first = losses[marks > TEXT].view(-1, ANSWER_TOKENS)[:, 0]
        right = float(first.exp().reciprocal().mean())
        progress.mastery = 0.95 * progress.mastery + 0.05 * right
        progress.step += 1
        self._sums.append([float(losses[marks == mark].mean()) for mark in (TEXT, *ANSWERS)])
        if progress.step % 25 == 0:
            means = torch.tensor(self._sums, dtype=torch.float64).nanmean(0).tolist()
            progress.losses.append((progress.step, progress.stage, *means))
            self._sums.clear()
        if progress.mastery > MASTERED and progress.stage < len(STAGES) - 1:
            progress.stage, progress.mastery = progress.stage + 1, 0.0

    def _batch(self, chance: random.Random) -> Batch:
        recipe, stage = self.recipe, STAGES[self.progress.stage if chance.random() < 2 / 3 else 0]
        assert self._tokenizer.bos_id is not None
        size = chance.choice(PEOPLE)
        drawn = samples(chance.randrange(1 << 48), size, own=stage.own, linked=stage.linked)
        rows: list[Row] = []
        for _ in range(max(2, recipe.rows * 2 // size) - recipe.prose_rows):
            sample = next(drawn)
            count = len(sample.documents)
            free = gaps(chance, count + 1) if stage.gaps else [0] * (count + 1)
            together = groups(chance, count) if recipe.modular else [0] * count
            hidden = missed(chance, sample, together)
            rows.append(fact_row(sample, self._tokenizer, free, together, hidden))
        length = max(len(row.tokens) for row in rows) - 1
        for _ in range(recipe.prose_rows):
            start = chance.randrange(len(self._prose) - length)
            rows.append(prose_row(self._prose[start : start + length], self._tokenizer.bos_id))
        return batch(rows)
