"""The trained checkpoints in `weights/`: whole, and able to do what they were trained for."""

from __future__ import annotations

from pathlib import Path

import pytest
from score_tiny import scores
from tiny.shapes import SHAPES

from minillm.checkpoint import load
from minillm.verify import verify

FOLDERS = sorted((Path(__file__).parent.parent / "weights").glob("tiny-*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_checkpoint_is_whole_and_answers_held_out_questions(folder: Path) -> None:
    model = load(folder)
    verify(model, folder)
    assert model.config == SHAPES[folder.name.removesuffix("-modular")]
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= 4 << 20 and (folder / "PROVENANCE.md").is_file()
    assert scores(model, ["full"], 100, ["one"])["full", "one"] >= 0.95
