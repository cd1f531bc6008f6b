"""The trained checkpoints in `weights/`: whole, and able to do what they were trained for."""

from __future__ import annotations

from pathlib import Path

import pytest
from score_tiny import scores
from tiny.facts import KINDS
from tiny.shapes import SHAPES

from minillm.checkpoint import load
from minillm.verify import verify

FOLDERS = sorted((Path(__file__).parent.parent / "weights").glob("tiny-*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_checkpoint_is_whole(folder: Path) -> None:
    model = load(folder)
    verify(model, folder)
    assert model.config == SHAPES[folder.name.removesuffix("-modular")]
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= 4 << 20 and (folder / "PROVENANCE.md").is_file()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_documents_apart_lose_what_only_two_tell_and_a_scaffold_wins_it_back(folder: Path) -> None:
    found = scores(load(folder), ["full", "isolated", "scaffold"], 100)
    for kind in KINDS:
        assert found["full", kind] >= 0.95
        assert found["scaffold", kind] == found["full", kind]
    assert found["isolated", "one"] >= 0.95
    assert found["isolated", "linked"] < 0.5
