"""`pml gate`: a card that says what is so, is of these weights only, and is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_model import write_checkpoint
from typer.testing import CliRunner, Result

from minillm import load
from minillm.config_file import load_config, save_config
from minillm.errors import LoadError
from minillm.weights_file import open_weights, write_weights
from pml import PromptCache
from pml.card import CARD_FILE, card_of
from pml.cli import app

ROOT = Path(__file__).parents[2]


def gate(folder: Path, *more: object) -> Result:
    command = ["gate", folder, "--task", "tiny-facts", "--count", 6, *more]
    return CliRunner().invoke(app, [str(argument) for argument in command])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained checkpoint that has passed the gate."""
    copied = tmp_path_factory.mktemp("weights") / "tiny-llama"
    shutil.copytree(ROOT / "weights" / "tiny-llama", copied)
    passed = gate(copied)
    assert passed.exit_code == 0, passed.output
    assert passed.stdout.count("holds  ") == 5
    return copied


def test_a_card_says_what_was_found(folder: Path) -> None:
    card = PromptCache(load(folder)).card
    assert card is not None and (card.task, card.questions) == ("tiny-facts", 6)
    assert all(0 <= law.difference <= law.limit == 1e-4 for law in card.laws)
    assert sum(law.difference > 0 for law in card.laws) >= 4
    found = {answers.mode: answers for answers in card.answers}
    assert found["full"].score > 0
    for mode in ("exact", "scaffold"):
        assert found[mode].agreement == 1 and found[mode].kl < 1e-6
        assert found[mode].score == found["full"].score
    assert min(found["fast"].kl, found["balanced"].kl) > 1e-6
    assert found["fast"].computed < found["balanced"].computed < found["exact"].computed < 1
    assert f"{found['fast'].agreement:.0%} fast" in card.line()


def test_the_same_weights_give_the_same_card(folder: Path) -> None:
    before = (folder / CARD_FILE).read_text()
    shown = gate(folder, "--json")
    assert json.loads(shown.stdout) == json.loads(before)
    assert (folder / CARD_FILE).read_text() == before


def test_a_run_shows_the_card(folder: Path, tmp_path: Path) -> None:
    schema, prompt = tmp_path / "schema.pml", '<prompt schema="s"><sea/>Where do we go?</prompt>'
    schema.write_text('<schema name="s"><module name="sea">We go by sea.</module></schema>')
    command = ["run", str(schema), prompt, "--model", str(folder), "--max-tokens", "1"]
    card = card_of(load(folder))
    assert card is not None and card.line() in CliRunner().invoke(app, command).stderr
    (folder / CARD_FILE).rename(kept := tmp_path / CARD_FILE)
    assert "card" not in CliRunner().invoke(app, command).stderr
    (folder / CARD_FILE).write_text("{")
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0 and "card.json: not JSON" in told.stderr
    kept.rename(folder / CARD_FILE)


def test_a_card_is_of_its_weights_and_whole(folder: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other")
    model = load(other)
    assert PromptCache(model).card is None
    shutil.copy(folder / CARD_FILE, other)
    with pytest.raises(LoadError, match=r"card\.json: is of other weights .* makes a new one"):
        _ = PromptCache(model).card
    whole = json.loads((folder / CARD_FILE).read_text())
    for wrong in ({}, {"version": 2}, {"laws": [{"law": "x"}]}, {"answers": 3}, {"laws": None}):
        (other / CARD_FILE).write_text(json.dumps(whole | wrong if wrong else wrong))
        with pytest.raises(LoadError, match="pml gate makes a new one"):
            card_of(model)


def test_a_law_that_fails_ends_the_command(tmp_path: Path) -> None:
    """Of weights that are damaged where no checksum tells: one is not a number."""
    folder = write_checkpoint(tmp_path / "damaged", max_positions=2048)
    path = folder / "model.safetensors"
    with open_weights(path) as file:
        tensors = {name: file.tensor(name, torch.float32).clone() for name in file.names}
        specs = {name: file.spec(name) for name in file.names}
    tensors["norm.weight"][0] = float("nan")
    stored = load_config(folder)
    object.__setattr__(stored, "weights_sha256", write_weights(path, specs, tensors.__getitem__))
    save_config(stored, folder)
    failed = gate(folder)
    assert failed.exit_code == 1 and "error: " in failed.stderr
    assert "reuse is the oracle" in failed.stderr and "FAILS" in failed.stdout
    assert not all(law.holds for law in card_of(load(folder)).laws)  # type: ignore[union-attr]


def test_only_built_in_questions(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["gate", str(tmp_path), "--task", "nq"])
    assert refused.exit_code == 1 and "expected records or tiny-facts" in refused.stderr
