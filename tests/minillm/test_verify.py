"""`minillm verify`: golden logits kept at conversion, and what they catch later."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from families_golden import our_logits
from tiny_model import write_checkpoint
from typer.testing import CliRunner, Result

import minillm.rope
from minillm.checkpoint import load
from minillm.cli import app
from minillm.config_file import load_config, save_config
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.golden_file import GOLDEN_FILE, load_golden
from minillm.verify import LIMITS, record, verify

DTYPES = list(LIMITS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tiny.write_folder(tmp_path / "source", tiny.weights())
    return convert(source, tmp_path / "tiny").folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def error(done: Result) -> str:
    """The one line on stderr after the one that says what is loaded."""
    assert done.exit_code == 4
    assert "Traceback" not in done.output
    *before, line = done.stderr.splitlines()
    assert all(text.startswith("loading ") for text in before)
    return line.removeprefix("error: ")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_converted_checkpoint_gives_its_golden_logits(folder: Path, dtype: torch.dtype) -> None:
    found = verify(load(folder, dtype=dtype), folder)
    assert found.rows == 12
    assert found.decode is not None
    assert max(found.prefill, found.decode) <= found.limit == LIMITS[dtype]


def test_golden_logits_are_those_of_the_model_at_these_positions(folder: Path) -> None:
    model = load(folder, dtype=torch.float64)
    golden = load_golden(folder, model.config)
    assert [at[0] for at in golden.positions] == [0, 488, 0]  # of 512 positions
    assert [at[-1] for at in golden.positions] == [23, 511, 23 * 21]
    assert golden.model == model.fingerprint
    for positions, rows in zip(golden.positions, golden.rows, strict=True):
        logits = our_logits(model.transformer, golden.tokens, positions, [(0, 24)])[-len(rows) :]
        for expected, row in zip(logits, rows, strict=True):
            assert len(row) > 16
            assert next(iter(row)) == expected.argmax()
            assert int(expected.argmin()) in row
            kept = torch.tensor(list(row.values()), dtype=torch.float64)
            torch.testing.assert_close(expected[list(row)], kept, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_golden_logits_are_computed_in_float32_whatever_is_stored(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    source = tiny.write_folder(tmp_path / "source", tiny.weights())
    folder = convert(source, tmp_path / "tiny", dtype=dtype).folder
    found = verify(load(folder, dtype=torch.float32), folder)
    assert found.prefill < 1e-6


@pytest.mark.parametrize("positions", [1, 2, 5, 30])
def test_a_model_of_few_positions_has_golden_logits_too(tmp_path: Path, positions: int) -> None:
    folder = write_checkpoint(tmp_path / "tiny", max_positions=positions)
    record(folder)
    verify(load(folder), folder)
    golden = load_golden(folder, load_config(folder).model)
    assert max(max(text) for text in golden.positions) < positions


def test_one_line_says_that_all_is_well(folder: Path) -> None:
    done = run(folder)
    assert done.exit_code == 0
    assert done.stdout.startswith("tiny: as converted; 12 rows of logits are off by ")
    assert done.stdout.endswith("(float32, limit 0.0001)\n")
    assert len(done.stdout.splitlines()) == 1
    facts = json.loads(run(folder, "--json", "--dtype", "bfloat16").stdout)
    assert facts["ok"] is True
    assert (facts["model"], facts["dtype"], facts["rows"]) == ("tiny", "bfloat16", 12)
    assert max(facts["prefill"], facts["decode"]) < facts["limit"]


def flip(name: str) -> Callable[[Path], object]:
    """Change the last letter or digit of a file."""

    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        at = max(i for i, byte in enumerate(data) if chr(byte).isalnum())
        data[at] ^= 1
        (folder / name).write_bytes(data)

    return change


def other_shape(folder: Path) -> None:
    stored = load_config(folder)
    shape = dataclasses.replace(stored.model, rope_theta=9999.0)
    save_config(dataclasses.replace(stored, model=shape), folder)


def other_markers(folder: Path) -> None:
    roles = json.loads((folder / "roles.json").read_text())
    roles["roles"]["user"]["open"] = [1]
    (folder / "roles.json").write_text(json.dumps(roles))


def golden(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / GOLDEN_FILE).read_text()) | changes
        (folder / GOLDEN_FILE).write_text(json.dumps(content))

    return change


ROW = {"0": 1.0, "1": 2.0}
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a weight": (flip("model.safetensors"), "model.safetensors: damaged: its sha256 is not the"),
    "weights cut off": (
        lambda f: (f / "model.safetensors").write_bytes(b"1234567"),
        "model.safetensors: ",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: no such file"),
    "a configuration": (other_shape, "golden.json: is of other weights or another config.json"),
    "no configuration": (lambda f: (f / "config.json").write_text("{"), "config.json: "),
    "chat markers": (other_markers, "golden.json: is of another tokenizer or roles.json"),
    "no golden logits": (
        lambda f: (f / GOLDEN_FILE).unlink(),
        "has no golden.json, which conversion writes: convert again, or keep what it gives now "
        "with minillm verify",
    ),
    "an empty file": (lambda f: (f / GOLDEN_FILE).write_text(""), "golden.json: not JSON: "),
    "no UTF-8": (lambda f: (f / GOLDEN_FILE).write_bytes(b'{"\xff'), "golden.json: "),
    "a format": (golden(format=2), "format is 2, expected 1"),
    "an unknown key": (golden(code="x"), "the file has the unknown key 'code'"),
    "tokens": (golden(tokens=[10**9]), "tokens holds 1000000000, expected whole numbers below 260"),
    "positions": (golden(positions=[[-1]]), "positions holds -1, expected whole numbers below 512"),
    "too many": (golden(tokens=[1] * 99), "expected a list of 1 to 64"),
    "lengths": (golden(tokens=[1] * 25), "tokens, positions and rows do not fit each other"),
    "rows": (golden(rows=[[ROW]] * 2), "tokens, positions and rows do not fit each other"),
    "a row": (golden(rows=[["x"]]), "a row is 'x', expected logits by token"),
    "a row's token": (golden(rows=[[{"0": 1.0, "²": 2.0}]]), "a row has the token '²'"),
    "a logit": (golden(rows=[[{"0": 1.0, "1": float("nan")}]]), "a logit is nan, expected a"),
    "logits": (golden(rows=[[ROW]] * 3), "logits of prefill are off by "),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_one_line_and_exit_code_4(
    folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    line = error(run(folder))
    assert message in line
    assert line.startswith(str(folder))
    done = run(folder, "--json")
    told = {"version": 1, "ok": False, "error": line}
    assert (done.exit_code, json.loads(done.stdout)) == (4, told)


def test_a_runtime_that_computes_something_else_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rotation the other way round: the checkpoint is whole, its logits are not.
    turn = minillm.rope.Rope.tables
    monkeypatch.setattr(
        minillm.rope.Rope, "tables", lambda rope, at, dtype: turn(rope, -at.square(), dtype)
    )
    assert "logits of prefill are off by " in error(run(folder))


def test_what_a_model_gives_now_can_be_kept(folder: Path) -> None:
    (folder / GOLDEN_FILE).unlink()
    assert "--record" in error(run(folder))
    assert run(folder, "--record").exit_code == 0
    assert run(folder).exit_code == 0


def test_a_folder_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere")
    assert done.exit_code == 1
    assert "no such folder; `minillm convert SOURCE DIR` makes" in done.stderr


def test_weights_that_give_no_numbers_are_not_converted(tmp_path: Path) -> None:
    weights = tiny.weights()
    weights["model.norm.weight"][3] = float("nan")
    source = tiny.write_folder(tmp_path / "source", weights)
    with pytest.raises(LoadError, match="source: the weights give logits that are not finite"):
        convert(source, tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()


@pytest.mark.model
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_smollm2_is_as_it_was_converted(dtype: torch.dtype) -> None:
    folder = Path(__file__).parent.parent.parent / "weights" / "smollm2-135m-instruct"
    verify(load(folder, dtype=dtype), folder)
