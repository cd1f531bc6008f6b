"""The folder of a tiny checkpoint: what `minillm` loads, where it comes from, how training went."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from minillm.checkpoint import WEIGHTS_FILE
from minillm.config_file import CheckpointConfig, save_config
from minillm.families import FAMILIES
from minillm.verify import record
from minillm.weights_file import TensorSpec, write_weights
from tiny.facts import KINDS
from tiny.training import Trainer

DTYPE = torch.float16

PROVENANCE = """# {name}

Trained from nothing by this project, {version}:

    python scripts/train_tiny.py {arguments}

- Model: {parameters:,} parameters, stored in float16. Licence: that of the project (Apache-2.0).
- Data: facts about invented people, drawn by `scripts/tiny/facts.py` from the seed {seed}, and
  prose, A. Conan Doyle's "A Scandal in Bohemia" (public domain; `tests/parity/texts/SOURCE.md`).
- Training: {steps:,} steps, {minutes:.1f} minutes of one core (torch {torch}, float32).
  `losses.csv` has the mean losses of text and of answers by kind, every 25 steps.
- What it answers, and what reuse costs it: `docs/training.md`.
"""


def write_checkpoint(trainer: Trainer, folder: Path, arguments: str) -> None:
    """All files but the tokenizer's, which are there."""
    model, recipe, progress = trainer.model, trainer.recipe, trainer.progress
    weights = {name: weight.to(DTYPE) for name, weight in model.state_dict().items()}
    assert weights.keys() == FAMILIES[model.config.family].weights(model.config).keys()
    specs = {name: TensorSpec(DTYPE, tuple(weight.shape)) for name, weight in weights.items()}
    sha256 = write_weights(folder / WEIGHTS_FILE, specs, weights.__getitem__)
    source = {"format": "trained", "command": f"scripts/train_tiny.py {arguments}"}
    save_config(CheckpointConfig(model.config, sha256, source), folder)
    record(folder)
    with (folder / "losses.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("step", "stage", "text", *KINDS))
        for step, stage, *losses in progress.losses:
            writer.writerow((step, stage, *(f"{loss:.4f}" for loss in losses)))
    described = PROVENANCE.format(
        name=folder.name,
        version="documents seen in random groups" if recipe.modular else "all documents seen",
        arguments=arguments,
        parameters=sum(weight.numel() for weight in weights.values()),
        seed=recipe.seed,
        steps=progress.step,
        minutes=progress.cpu_seconds / 60,
        torch=torch.__version__,
    )
    (folder / "PROVENANCE.md").write_text(described, encoding="utf-8")
