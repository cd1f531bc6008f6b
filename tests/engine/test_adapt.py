"""`pml adapt`: what is trained is what the engine computes, and nothing else moves."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_model import write_checkpoint
from torch import Tensor
from typer.testing import CliRunner, Result

from minillm import load
from minillm.checkpoint import header_ids
from minillm.errors import LoadError
from minillm.gradients import Differentiable
from minillm.model import Transformer
from minillm.verify import verify
from pml.adapt.adapter import adapted, headed, load_adapter, trained, write_adapted
from pml.adapt.rows import Row, rows
from pml.adapt.texts import Sample, sample
from pml.adapt.training import Recipe, Trainer
from pml.build import module, prompt, schema, use
from pml.cli import app
from pml.engine import PromptCache
from pml.eval.tasks import TASKS
from pml.reference import full_prefill

SAMPLE = Sample(
    "We go.\n", ("To the sea.\n", "By train.\n", "In May.\n"), ("Where? To", "How do we go? By")
)
FAST = Recipe(rank=2, lr=0.02, warm_up=1, average=0.8)
HEADER = Recipe(header=3, lr=0.2, warm_up=1, average=0.8)
PROSE = " ".join(
    f"The {n}th of all trains goes to Rome by way of {n * 7} hills." for n in range(400)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny", max_positions=4096)


def logits_of(model: Transformer, row: Row) -> Tensor:
    trained = Differentiable(model)
    return trained.logits(trained.hidden(row.tokens, row.positions, row.sees))[0]


@pytest.mark.parametrize("size", [0, 3])
def test_the_readings_of_a_sample_are_full_prefill_and_what_the_engine_computes(
    folder: Path, size: int
) -> None:
    """With a header of that size, and full prefill knows nothing of it."""
    model = load(folder, dtype=torch.float64)
    student = model
    if size:
        tokenizer = model.tokenizer.with_header(header_ids(model.config, size))
        transformer = headed(model.transformer, model.tokenizer.encode("the sea")[:size])
        student = replace(model, transformer=transformer, tokenizer=tokenizer)
    read = rows(SAMPLE, model, student.tokenizer)
    full, modular = logits_of(model.transformer, read[0]), logits_of(student.transformer, read[1])
    cache = PromptCache(student, layout="packed")
    whole = PromptCache(student, layout="packed", quality="exact")
    modules = [module(f"d{n}", text) for n, text in enumerate(SAMPLE.documents)]
    for one in (cache, whole):
        one.add_schema(schema("sample", SAMPLE.instruction, *modules))
    stop = 0
    for text in reversed(SAMPLE.continuations):
        asked = prompt("sample", use("d0"), use("d1"), use("d2"), text)
        found, exact = cache.prefill(asked), whole.prefill(asked)
        assert found.usage.prompt_tokens == exact.usage.prompt_tokens + 3 * size
        expected = full_prefill(model.transformer, exact.plan)
        last = -1 - stop
        torch.testing.assert_close(exact.logits, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(modular[last], found.logits, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(full[last], expected, rtol=1e-9, atol=1e-9)
        assert (expected - found.logits).abs().max() > 1e-3
        stop += len(model.tokenizer.encode(text))


ADAPTER = {
    f"blocks.{layer}.attention.{matrix}.{part}"
    for layer in range(2)
    for matrix in ("qkv", "output")
    for part in ("down", "up")
}


@pytest.mark.parametrize(("recipe", "names"), [(FAST, ADAPTER), (HEADER, {"header"})])
def test_gradients_reach_what_is_trained_and_nothing_else(
    folder: Path, recipe: Recipe, names: set[str]
) -> None:
    model = load(folder, weights="plain")
    trainer = Trainer(model, (), recipe)
    before = {name: weight.clone() for name, weight in model.transformer.state_dict().items()}
    untrained = {name: weight.detach().clone() for name, weight in trainer.weights.items()}
    trainer.run(lambda progress: progress.step == 2)
    assert trainer.weights.keys() == names
    for name, weight in trainer.weights.items():
        assert not torch.equal(weight, untrained[name]), name
    for name, weight in model.transformer.state_dict().items():
        assert torch.equal(weight, before[name]), name


@pytest.mark.parametrize("recipe", [FAST, HEADER])
def test_training_broken_off_and_resumed_gives_the_same_bits(
    folder: Path, tmp_path: Path, recipe: Recipe
) -> None:
    model = load(folder, weights="plain")
    whole, first, second = (Trainer(model, PROSE.split(), recipe) for _ in range(3))
    whole.run(lambda progress: progress.step == 5)
    first.run(lambda progress: progress.step == 2)
    first.save(tmp_path / "state", {"seed": "0"})
    second.resume(tmp_path / "state", {"seed": "0"})
    second.run(lambda progress: progress.step == 5)
    assert second.progress.losses == whole.progress.losses
    for name, weight in whole.average.items():
        assert torch.equal(second.average[name], weight), name
        assert torch.equal(second.weights[name], whole.weights[name]), name


@pytest.mark.parametrize("recipe", [Recipe(rank=8, lr=0.01, warm_up=1), HEADER])
def test_what_is_held_out_comes_nearer_to_full_attention(folder: Path, recipe: Recipe) -> None:
    trainer = Trainer(load(folder, weights="plain"), (), recipe)
    untrained = trainer.held_out()
    trainer.run(lambda progress: progress.step == 100)
    assert trainer.held_out() < 0.9 * untrained


def test_a_merged_checkpoint_gives_the_logits_of_the_adapter(folder: Path, tmp_path: Path) -> None:
    model = load(folder, weights="plain")
    student = adapted(model.transformer, 2, seed=3)
    with torch.no_grad():
        for weight in trained(student).values():
            weight.copy_((0.1 * torch.randn(weight.shape)).to(torch.float16))
    target = tmp_path / "adapted"
    write_adapted(folder, target, trained(student), {"of": "tiny"})
    merged = load(target, weights="plain")
    _, modular = rows(SAMPLE, model, model.tokenizer)
    expected, found = logits_of(student, modular), logits_of(merged.transformer, modular)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (logits_of(model.transformer, modular) - expected).abs().max() > 0.1
    assert merged.fingerprint != model.fingerprint
    assert verify(merged, target).rows
    kept, facts = load_adapter(target / "adapter.safetensors")
    assert facts == {"of": "tiny"}
    for name, weight in trained(student).items():
        assert torch.equal(kept[name].float(), weight), name


def test_a_checkpoint_with_a_header_gives_the_logits_of_the_header(
    folder: Path, tmp_path: Path
) -> None:
    model = load(folder, weights="plain")
    student = headed(model.transformer, [5, 9, 7])
    (header,) = trained(student).values()
    with torch.no_grad():
        header.copy_(torch.randn(header.shape).to(torch.float16))
    target = tmp_path / "headed"
    write_adapted(folder, target, trained(student), {"of": "tiny"})
    found = load(target, weights="plain")
    assert found.tokenizer.header_ids == header_ids(model.config, 3)
    assert found.fingerprint != model.fingerprint
    _, modular = rows(SAMPLE, model, found.tokenizer)
    expected = logits_of(student, modular)
    torch.testing.assert_close(logits_of(found.transformer, modular), expected)
    _, bare = rows(SAMPLE, model, model.tokenizer)
    as_it_was = logits_of(model.transformer, bare)
    torch.testing.assert_close(logits_of(found.transformer, bare), as_it_was)
    assert (as_it_was[-1] - expected[-1]).abs().max() > 0.1
    assert verify(found, target).rows
    kept, _ = load_adapter(target / "adapter.safetensors")
    assert torch.equal(kept["header"].float(), header)
    again = tmp_path / "again"
    write_adapted(target, again, {}, {})
    assert load(again).tokenizer.header_ids == found.tokenizer.header_ids


def test_nothing_that_is_measured_is_trained_on() -> None:
    """Names of the task `records` and the values that answer it, but for words and numbers that
    any text has."""
    drawn = "\n".join(
        text
        for seed in range(300)
        for one in [sample(random.Random(seed), ())]
        for text in (*one.documents, *one.continuations)
    )
    trained_on = set(re.findall(r"\w+", drawn))
    items = TASKS["records"].items(None, None, 0, None)
    documents = {text for item in items for text in item.documents}
    names = {word for text in documents for word in text.split()[:2]}
    answers = {item.answers[0] for item in items if not item.answers[0].isdigit()}
    assert len(names) > 30 and len(answers) > 30
    assert not trained_on & (names | answers)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"up": None},
        {"up": torch.zeros(32, 3)},
        {"down": torch.zeros(2, 31)},
        {"up": torch.zeros(())},
        {"side": torch.zeros(32, 2)},
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, spoiled: dict[str, Tensor | None]
) -> None:
    place = "blocks.0.attention.output"
    whole = {"up": torch.zeros(32, 2), "down": torch.zeros(2, 32)}
    parts = {f"{place}.{k}": v for k, v in (whole | spoiled).items() if v is not None}
    with pytest.raises(LoadError, match="fits no weight"):
        write_adapted(folder, tmp_path / "new", parts, {})
    assert not list(tmp_path.iterdir())
    write_adapted(folder, tmp_path / "new", {f"{place}.{k}": v for k, v in whole.items()}, {})


@pytest.mark.parametrize("shape", [(3, 4, 32), (2, 4, 31), (2, 10**7, 0), (2, 0, 32), (2, 32), ()])
def test_a_header_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with pytest.raises(LoadError, match="the header has shape"):
        write_adapted(folder, tmp_path / "new", {"header": torch.zeros(shape)}, {})
    assert not list(tmp_path.iterdir())


def pml(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("what", [(), ("--header", 2)])
def test_the_command_trains_merges_and_makes_the_same_of_its_adapter(
    folder: Path, tmp_path: Path, what: tuple[object, ...]
) -> None:
    text = tmp_path / "trains.txt"
    text.write_text(PROSE * 2)
    first, second = tmp_path / "first", tmp_path / "second"
    done = pml("adapt", folder, "-o", first, "--text", text, "--steps", 2, "--json", *what)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["steps"] == "2" and "trains.txt" in told["trained on"]
    assert not (tmp_path / "first.training").exists()
    adapter = first / "adapter.safetensors"
    assert pml("adapt", folder, "-o", second, "--adapter", adapter).exit_code == 0
    files = ("config.json", "model.safetensors", "golden.json", "tokenizer.json", "roles.json")
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_training_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    model = load(folder, weights="plain")
    out, kept = tmp_path / "out", tmp_path / "out.training"
    kept.write_bytes(b"nothing")
    assert "no state of a training" in pml("adapt", folder, "-o", out, "--steps", 1).stderr
    trainer = Trainer(model, (), Recipe())
    trainer.run(lambda progress: progress.step == 1)
    trainer.save(kept, {"seed": "7"})
    assert "'seed': '7'" in pml("adapt", folder, "-o", out, "--steps", 1).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "{folder}"], "exists already"),
        (["-o", "{new}", "--text", "{folder}/none.txt"], "No such file"),
        (["-o", "{new}", "--text", "{folder}/roles.json"], "words, expected 3,000 at least"),
        (["-o", "{new}", "--text", "{folder}/model.safetensors"], "no text in UTF-8"),
        (["-o", "{new}", "--adapter", "{folder}/roles.json"], "no adapter"),
    ],
)
def test_bad_input_is_one_line(
    folder: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    named = [part.format(folder=folder, new=tmp_path / "new") for part in arguments]
    done = pml("adapt", folder, *named)
    assert done.exit_code == 1
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("error: ") and told in last
    assert not list(tmp_path.iterdir())


def test_an_adapter_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", seed=1)
    facts = {"of": "other", "fingerprint": load(other).fingerprint}
    write_adapted(other, tmp_path / "adapted", {}, facts)
    adapter = tmp_path / "adapted" / "adapter.safetensors"
    done = pml("adapt", folder, "-o", tmp_path / "new", "--adapter", adapter)
    assert done.exit_code == 1 and "was trained for other" in done.stderr
