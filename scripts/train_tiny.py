"""Train the tiny checkpoints in `weights/`: minutes on a CPU, the same ones for the same seed.

    python scripts/train_tiny.py                        all of them, one after the other
    python scripts/train_tiny.py tiny-llama             one
    python scripts/train_tiny.py tiny-llama-modular     the same, going on with documents that see
                                                        one another in random groups

Broken off, the command goes on where it was: `build/tiny/` keeps the state of every 100 steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tiny.folder import write_checkpoint
from tiny.shapes import SHAPES
from tiny.start import new_model
from tiny.training import RECIPES, Progress, Trainer
from tiny.vocabulary import prose, write_tokenizer

from minillm.tokenizer import load_tokenizer

ROOT = Path(__file__).parent.parent
SUFFIX = "-modular"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--weights", type=Path, default=ROOT / "weights")
    parser.add_argument("--kept", type=Path, default=ROOT / "build" / "tiny")
    options = parser.parse_args()
    if unknown := set(options.names) - set(RECIPES):
        parser.error(f"{sorted(unknown)[0]!r} is none of {', '.join(RECIPES)}")
    torch.set_num_threads(1)
    options.kept.mkdir(parents=True, exist_ok=True)
    for name in options.names or RECIPES:
        train(name, options.weights / name, options.kept)


def train(name: str, folder: Path, kept: Path) -> None:
    """A modular version goes on from the state that the ordinary one ended with."""
    folder.mkdir(parents=True, exist_ok=True)
    ordinary = name.removesuffix(SUFFIX)
    write_tokenizer(folder)
    tokenizer = load_tokenizer(folder)
    shape = SHAPES[ordinary]
    recipe = RECIPES[name]
    model = new_model(shape, tokenizer, recipe.seed)
    trainer = Trainer(model, tokenizer, tokenizer.encode(prose()), recipe)
    state = kept / f"{name}.pt"
    if state.is_file():
        trainer.resume(state)
    elif name != ordinary:
        model.load_state_dict(torch.load(kept / f"{ordinary}.pt", weights_only=True)["model"])

    def told(progress: Progress) -> None:
        step, stage, *losses = progress.losses[-1]
        minutes = progress.cpu_seconds / 60
        print(
            f"{name} step {step}/{recipe.steps} stage {stage} losses "
            f"{' '.join(f'{loss:.3f}' for loss in losses)} "
            f"known {progress.mastery:.2f} {minutes:.1f} min",
            flush=True,
        )
        if step % 100 == 0:
            trainer.save(state)

    trainer.run(told)
    trainer.save(state)
    write_checkpoint(trainer, folder, name)


if __name__ == "__main__":
    main()
