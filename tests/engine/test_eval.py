"""`pml eval`: results that can be gone on with, numbers that are what they say, the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_model import write_checkpoint
from typer.testing import CliRunner, Result

from minillm import LoadedModel, load
from minillm.generate import prefill
from pml.cli import app
from pml.eval.items import Form, Item
from pml.eval.modes import mode
from pml.eval.page import picture, table, with_tables
from pml.eval.question import Asker, log_likelihoods
from pml.eval.run import Results, Settings, evaluate
from pml.eval.score import exact_match
from pml.eval.summary import summarise
from pml.eval.tasks import TASKS, Task

ROOT = Path(__file__).parents[2]
ITEMS = [
    Item(f"{n}", ("We go by sea.", f"The sun in {city}."), (1,), "Where?", ("by train", city))
    for n, city in enumerate(["Rome", "Goa", "Oslo"])
]
TASK = Task("trip", lambda *_: iter(ITEMS), "", Form("You plan.\n"), exact_match, 2, 4)
NAMES = ("full", "fast", "exact", "isolated", "scaffold", "values-50", "slots", "after-2")
MODES = [mode(name) for name in NAMES]
SETTINGS = Settings("trip", "tiny", "float64", 2, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny")
    return load(folder, dtype=torch.float64)


def test_exact_and_a_scaffold_of_all_are_full_prefill_and_others_are_not(
    model: LoadedModel,
) -> None:
    for item in ITEMS:
        found = {result.mode: result for result in Asker(model, TASK, MODES).ask(item)}
        for name in ("exact", "scaffold"):
            assert found[name].agrees and found[name].answer == found["full"].answer
            assert found[name].kl < 1e-12
            assert found[name].log_likelihood == pytest.approx(found["full"].log_likelihood)
        assert found["isolated"].kl > found["fast"].kl / 100 > 1e-9
        assert found["scaffold"].computed == found["fast"].computed < found["exact"].computed
        assert found["after-2"].computed == found["slots"].computed + 2 * len(item.documents)
        assert found["after-2"].tokens == found["full"].tokens
        assert found["full"].computed == found["full"].tokens == found["exact"].tokens


def test_a_teacher_gives_the_full_prefill_that_the_others_are_held_against(
    model: LoadedModel, tmp_path: Path
) -> None:
    other = load(write_checkpoint(tmp_path / "other", seed=1), dtype=torch.float64)
    alone = {result.mode: result for result in Asker(model, TASK, MODES).ask(ITEMS[0])}
    taught = {result.mode: result for result in Asker(other, TASK, MODES, model).ask(ITEMS[0])}
    own = {result.mode: result for result in Asker(other, TASK, MODES).ask(ITEMS[0])}
    assert replace(taught["full"], ttft=0.0) == replace(alone["full"], ttft=0.0)
    for name in ("fast", "exact"):
        assert taught[name].answer == own[name].answer
        assert taught[name].log_likelihood == pytest.approx(own[name].log_likelihood)
        assert taught[name].kl > own[name].kl


def test_a_likelihood_is_that_of_one_token_after_the_other(model: LoadedModel) -> None:
    start, answer = model.tokenizer.encode("We go by"), model.tokenizer.encode(" sea, by train")
    cache = model.transformer.new_cache()
    logits = prefill(model.transformer, cache, start, range(len(start)))
    together = log_likelihoods(model.transformer, cache, len(start), logits, answer)
    assert cache.num_slots == len(start)
    for number, token in enumerate(answer):
        text = [*start, *answer[:number]]
        fresh = model.transformer.new_cache()
        alone = prefill(model.transformer, fresh, text, range(len(text))).log_softmax(-1)[token]
        torch.testing.assert_close(together[number], alone.double(), rtol=1e-9, atol=1e-9)


def test_a_second_start_goes_on_and_gives_the_same_table(
    model: LoadedModel, tmp_path: Path
) -> None:
    whole, parts = Results(tmp_path / "a.jsonl", SETTINGS), tmp_path / "b.jsonl"
    evaluate(model, TASK, ITEMS, MODES, whole)
    evaluate(model, TASK, ITEMS[:1], MODES[:2], Results(parts, SETTINGS))
    with parts.open("a") as file:
        file.write('{"item": "1", "mode": "fu')  # the machine went down
    asked: list[int] = []
    again = Results(parts, SETTINGS)
    evaluate(model, TASK, ITEMS, MODES, again, lambda done, of: asked.append(done))
    names = [mode.name for mode in MODES]
    tables = [
        [row.as_json() | {"speedup": 0} for row in summarise(ITEMS, names, results.results)]
        for results in (whole, again, Results(parts, SETTINGS))
    ]
    assert tables[0] == tables[1] == tables[2] and len(tables[0]) == len(MODES)
    assert asked == [0, 1, 2]
    assert tables[0][0]["items"] == 3


def test_results_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    Results(path, SETTINGS)
    with pytest.raises(ValueError, match="take another --out"):
        Results(path, Settings("trip", "tiny", "float64", 3, 0))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("cli") / "tiny", max_positions=2048)


def test_the_command_prints_one_table_and_draws_it(folder: Path, tmp_path: Path) -> None:
    command = ["eval", "records", "--model", folder, "--count", 2, "--out", tmp_path / "out"]
    command += ["--documents", 2, "--modes", "fast,joint,first-2", "--svg", tmp_path / "plot.svg"]
    shown = run(*command)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines()[2:]] == [
        "full",
        "fast",
        "joint",
        "first-2",
    ]
    first, second = (json.loads(run(*command, "--json").stdout) for _ in range(2))
    assert first == second and first["timings"] == ["speedup"]
    assert table(first) == run(*command, "--markdown").stdout
    assert "first-2" in (tmp_path / "plot.svg").read_text()


def test_the_command_takes_questions_of_ones_own(folder: Path, tmp_path: Path) -> None:
    """And asks again what was rewritten, nothing else."""
    path, out = tmp_path / "mine.jsonl", tmp_path / "out"
    lines = [
        {"documents": ["The key is red.", "The door is old."], "question": q, "answers": ["red"]}
        for q in ("Which key?", "Which door?")
    ]
    command = ["eval", path, "--model", folder, "--modes", "fast", "--out", out, "--json"]
    for words in ("Which key?", "What key?"):
        lines[0]["question"] = words
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        found = json.loads(run(*command).stdout)
        assert found["settings"]["task"] == "mine"
        assert [row["items"] for row in found["rows"]] == [2, 2]
    kept = (out / "tiny-mine-99.jsonl").read_text().splitlines()
    assert len(kept) == 1 + 2 * 2 + 2
    path.write_text('{"documents": "text", "question": "?", "answers": ["a"]}\n')
    refused = run(*command)
    assert refused.exit_code == 1 and f"{path}:1: found" in refused.stderr
    assert "or a file of lines" in run("eval", tmp_path / "none", *command[2:]).stderr


def test_the_command_takes_a_teacher_of_the_same_tokenizer(folder: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", seed=1, max_positions=2048)
    command = ["eval", "records", "--model", other, "--count", 1, "--modes", "exact", "--json"]
    alone = json.loads(run(*command, "--out", tmp_path / "out").stdout)
    command += ["--out", tmp_path / "out", "--teacher"]
    taught = json.loads(run(*command, folder).stdout)
    assert taught["settings"]["model_name"] == "other-of-tiny"
    assert alone["rows"][1]["kl"]["mean"] < 1e-6 < taught["rows"][1]["kl"]["mean"]
    refused = run(*command, ROOT / "weights" / "tiny-llama")
    assert refused.exit_code == 1 and "another tokenizer" in refused.stderr


def test_gaps_hurt_in_fixed_and_never_in_packed(folder: Path, tmp_path: Path) -> None:
    command = ["gaps", "--model", folder, "--count", 2, "--dtype", "float64", "--json"]
    rows = json.loads(run(*command, "--svg", tmp_path / "gaps.svg").stdout)["rows"]
    assert [row["gap"] for row in rows] == [0, 16, 64, 256, 1024]
    assert all(row["packed"]["high"] < 1e-12 for row in rows)
    assert rows[0]["fixed"]["high"] < 1e-12 < rows[1]["fixed"]["low"]
    assert "packed" in (tmp_path / "gaps.svg").read_text()


def test_a_small_table_of_a_trained_model(tmp_path: Path) -> None:
    """What docs/results.md says of `tiny-llama`, over fewer questions."""
    command = ["eval", "tiny-facts", "--model", ROOT / "weights" / "tiny-llama", "--count", 30]
    command += ["--modes", "full,fast,fixed,balanced,exact,scaffold,slots,after-8"]
    told = json.loads(run(*command, "--out", tmp_path, "--json").stdout)
    rows = {row["mode"]: row for row in told["rows"]}
    assert {row["items"] for row in rows.values()} == {30}
    kl = {name: row["kl"]["mean"] for name, row in rows.items()}
    for name in ("exact", "scaffold"):
        assert kl[name] < 1e-9 and rows[name]["agreement"]["mean"] == 1
        assert rows[name]["gain"] == {"mean": 0, "low": 0, "high": 0}
    assert kl["fast"] > kl["balanced"] > 1e-5 and kl["slots"] > kl["after-8"] > 1e-5
    assert rows["full"]["score"]["mean"] >= 0.95
    assert rows["fast"]["gain"]["high"] < -0.2 and rows["after-8"]["gain"]["high"] < 0


def test_a_trained_model_loses_by_any_gap_and_never_in_packed() -> None:
    command = ["gaps", "--model", ROOT / "weights" / "tiny-llama", "--task", "tiny-facts"]
    rows = json.loads(run(*command, "--count", 12, "--json").stdout)["rows"]
    fixed = [row["fixed"]["mean"] for row in rows]
    assert fixed[0] < 1e-9 < 1e-4 < min(fixed[1:])
    assert all(row["packed"]["high"] < 1e-9 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["riddles"], "task is 'riddles', expected one of records"),
        (["records", "--modes", "first"], "mode is 'first', expected one of full"),
        (["nq"], "task 'nq' needs the folder of its data: --data or PML_DATA"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    folder: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PML_DATA", raising=False)
    failed = run("eval", *arguments, "--model", folder)
    assert failed.exit_code == 1 and failed.stderr.startswith(f"error: {message}")


def test_the_tables_and_pictures_of_the_page_are_those_that_were_found() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    folder = ROOT / "docs" / "results"
    assert [*folder.glob("*.json")]
    for path in folder.glob("*.json"):
        found = json.loads(path.read_text())
        assert table(found) in page, path
        if (drawn := f"results-{path.stem}.svg") in page:
            assert picture(found) == (ROOT / "docs" / drawn).read_text(encoding="utf-8")
    assert with_tables(page, folder) == page


@pytest.mark.model
def test_a_question_to_the_real_model(tmp_path: Path) -> None:
    """Reuse loses on it what computing again wins back."""
    model = load(ROOT / "weights" / "smollm2-135m-instruct", dtype=torch.float32)
    task = TASKS["records"]
    modes = [mode(name) for name in ("full", "fast", "balanced", "exact", "scaffold")]
    item = task.items(None, None, 0, 1)[0]
    found = {result.mode: result for result in Asker(model, task, modes).ask(item)}
    assert found["exact"].agrees and found["scaffold"].agrees
    assert max(found["exact"].kl, found["scaffold"].kl) < 1e-6
    assert found["fast"].kl > 1e-3
    assert found["fast"].computed < found["balanced"].computed < found["exact"].computed
