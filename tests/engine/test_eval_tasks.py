"""The tasks of `pml eval`, their scores and modes: no torch."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pml.eval import items, score
from pml.eval.items import Form, Item
from pml.eval.modes import mode
from pml.eval.plot import Plot, Point
from pml.eval.score import best, exact_match, rouge_l, token_f1
from pml.eval.tasks import BUILT_IN, TASKS
from pml.prompt import check_prompt
from pml.recompute import Recompute

ROOT = Path(__file__).parents[2]


def test_scores() -> None:
    assert doctest.testmod(score).failed == 0
    assert exact_match("The  Red.", "red") == 1.0
    assert exact_match("red car", "red") == 0.0
    assert token_f1("", "red") == rouge_l("", "red") == 0.0
    assert rouge_l("sat the cat", "cat sat") == pytest.approx(0.5)
    assert token_f1("sat the cat", "cat sat") == 1.0
    assert best(exact_match, "two", ["one", "two"]) == 1.0


def test_a_limited_item_keeps_what_is_needed() -> None:
    item = Item("1", ("a", "b", "c", "d"), (3,), "?", ("x",)).limited(2)
    assert (item.documents, item.needed) == (("a", "d"), (1,))
    assert item.limited(9) is item


@pytest.mark.parametrize("name", [n for n, task in TASKS.items() if not task.needs_data])
def test_the_built_in_items_fit_their_schemas(name: str) -> None:
    task = TASKS[name]
    if not (BUILT_IN / task.file).exists():
        pytest.skip(f"{task.file} is made by another script")
    items = task.items(None, None, 1, None)
    assert len(items) >= 100 and len({item.id for item in items}) == len(items)
    for item in items[:: len(items) // 20]:
        check_prompt(task.form.prompt(item), task.form.schema(item, scaffolded=True))
        assert any(item.answers[0] in item.documents[n] for n in item.needed)
        assert not set(item.left_out) & set(item.documents) and item.left_out


def test_the_records_are_what_their_script_makes() -> None:
    script = ROOT / "scripts" / "make_records.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert made.stdout == (BUILT_IN / "records.jsonl").read_text()


def test_a_form_puts_what_is_left_out_before_and_imports_the_rest() -> None:
    item = Item("1", ("a", "b"), (0,), "Which?", ("x",), lead="It is", left_out=("z",))
    form = Form("Read.\n")
    built = form.schema(item, scaffolded=True)
    assert [*built._modules] == ["other0", "d0", "d1"]
    assert built.scaffolds[0].modules == ("d0", "d1")
    *imports, text = form.prompt(item).children
    assert [one.name for one in imports] == ["d0", "d1"]  # type: ignore[union-attr]
    assert text.text == "Question: Which?\nAnswer: It is"  # type: ignore[union-attr]


def test_slots_take_the_first_words_of_each_document() -> None:
    item = Item("1", ("Ada Bell works here.", "Sea"), (0,), "Who?", ("x",))
    assert doctest.testmod(items).failed == 0
    built = Form("Read.\n").schema(item, slots=str.split)
    check_prompt(prompt := Form("Read.\n").prompt(item, slots=True), built)
    lengths = [built._modules[name].children[0].length for name in ("d0", "d1")]  # type: ignore[union-attr]
    assert lengths == [2, 1]
    assert prompt.children[0].arguments["words"].text == "Ada Bell"  # type: ignore[union-attr]


def test_modes_by_name() -> None:
    assert mode("keys-30").recompute == Recompute(deviating=0.3, deviation="keys")
    mixed = mode("attended-20+first-8+cooler-90")
    assert (mixed.recompute, mixed.key_scale) == (Recompute(attended=0.2, first=8), 0.9)
    assert mode("joint").attention == "joint"
    after = mode("after-8+fixed")
    assert (after.slots, after.recompute, after.layout) == (
        True,
        Recompute(after_parameters=8),
        "fixed",
    )
    for wrong in ("", "first", "first-", "last-3", "first-8+", "full+first-8", "after"):
        with pytest.raises(ValueError, match="expected one of full, "):
            mode(wrong)


@pytest.mark.skipif("PML_DATA" not in os.environ, reason="PML_DATA names no folder of data")
@pytest.mark.parametrize("name", [n for n, task in TASKS.items() if task.needs_data])
def test_the_other_items(name: str) -> None:
    task, folder = TASKS[name], Path(os.environ["PML_DATA"])
    items = task.items(folder, None, 1, None)
    assert len({item.id for item in items}) == len(items) >= 40
    assert items == task.items(folder, None, 1, None)
    for item in items[:40]:
        assert len(item.documents) <= max(task.documents, len(item.needed)) and item.needed
    if name == "nq":
        for item in items[:40]:
            holding = [
                n
                for n, text in enumerate(item.documents)
                if any(answer.lower() in text.lower() for answer in item.answers)
            ]
            assert set(holding) <= set(item.needed)


def test_a_plot_tells_its_points() -> None:
    points = [Point("full", 1, 0.8, 0.7, 0.9), Point("a<b", 5, 0.4, 0.3, 0.5, 1)]
    drawn = Plot("t & u", "speed", points, percent=True).svg()
    assert "<desc" in drawn and "a&lt;b at 5: 0.4" in drawn and "t &amp; u" in drawn
    assert drawn.count("<circle") == 2


def test_records_are_json_lines() -> None:
    for line in (BUILT_IN / "records.jsonl").read_text().splitlines():
        assert {"id", "documents", "needed", "question", "answer"} <= json.loads(line).keys()


@pytest.mark.model
@pytest.mark.skipif("PML_DATA" not in os.environ, reason="PML_DATA names no folder of data")
@pytest.mark.parametrize("name", [n for n, task in TASKS.items() if task.score is exact_match])
def test_a_right_answer_fits_the_tokens_that_its_task_allows(name: str) -> None:
    task, file = TASKS[name], ROOT / "weights" / "smollm2-135m-instruct" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    for item in task.items(Path(os.environ["PML_DATA"]), None, 0, None):
        assert len(tokenizer.encode(f" {item.answers[0]}").ids) <= task.max_tokens
