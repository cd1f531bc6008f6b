"""`minillm` on the command line, over a tiny checkpoint."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import write_checkpoint
from tiny_tokenizer import VOCABULARY
from typer.testing import CliRunner, Result

from minillm.checkpoint import load
from minillm.cli import app
from minillm.convert import Converted
from minillm.generate import generate


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny", max_positions=64)


def minillm(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def test_the_version_is_the_distribution_s() -> None:
    done = minillm("--version")
    name = "modular-prompt-cache"
    assert (done.exit_code, done.stdout) == (0, f"{name} {version(name)}\n")


def test_info_counts_the_true_key_value_heads(checkpoint: Path) -> None:
    done = minillm("info", checkpoint, "--json")
    facts = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "")
    tensors = load_file(checkpoint / "model.safetensors")
    assert facts["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert facts["kv_bytes_per_token"]["float32"] == 2 * 2 * 2 * 8 * 4  # K and V, L, heads, D
    assert facts["kv_bytes_per_token"]["bfloat16"] == 128
    assert (facts["family"], facts["positions"], facts["vocabulary"]) == ("llama", 64, VOCABULARY)
    assert facts["source"] == {"format": "random", "seed": "0"}


def test_info_for_people(checkpoint: Path) -> None:
    lines = minillm("info", checkpoint).stdout.splitlines()
    assert "kv bytes per token  float32: 256" in lines
    assert "                    bfloat16: 128" in lines
    assert "roles               system, user, assistant" in lines


def test_generate_prints_what_the_library_gives(checkpoint: Path) -> None:
    done = minillm("generate", checkpoint, "where do we go", "--max-tokens", 7)
    assert done.exit_code == 0
    assert done.stdout == generate(load(checkpoint), "where do we go", max_tokens=7) + "\n"
    assert done.stderr.startswith("loading tiny: ")
    raw = minillm("generate", checkpoint, "-", "--raw", "--max-tokens", 7, stdin="where do we go")
    model = load(checkpoint)
    assert raw.stdout == generate(model, "where do we go", max_tokens=7, chat=False) + "\n"


def test_a_seed_repeats_an_answer(checkpoint: Path) -> None:
    draw = ("generate", checkpoint, "rain", "--temperature", 1.5, "--top-k", 50, "--top-p", 0.95)
    answers = [minillm(*draw, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("nowhere", "hi"), 1, "error: nowhere: no such folder; `minillm convert SOURCE DIR`"),
        (("TINY", ""), 1, "error: the prompt is empty, expected some text"),
        (("TINY", "sun " * 99), 1, "tokens, the model's context is 64"),
        (("TINY", "hi", "--top-p", "0"), 2, "Invalid value for '--top-p'"),
        (("TINY", "hi", "--temperature", "nan"), 2, "Invalid value for '--temperature'"),
        (("TINY", "hi", "--temperature", "inf"), 2, "temperature is inf"),
        (("TINY", "hi", "--dtype", "int8"), 2, "Invalid value for '--dtype'"),
        (("TINY",), 2, "Missing argument 'PROMPT'"),
    ],
)
def test_what_is_wrong_is_said_on_stderr(
    checkpoint: Path, arguments: tuple[str, ...], code: int, line: str
) -> None:
    arguments = tuple(str(checkpoint) if word == "TINY" else word for word in arguments)
    done = minillm("generate", *arguments)
    assert done.exit_code == code
    assert line in done.stderr
    assert "Traceback" not in done.output


def test_a_damaged_checkpoint_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    broken = write_checkpoint(tmp_path / "broken")
    with (broken / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    done = minillm("generate", broken, "hi")
    assert done.exit_code == 4
    assert done.stderr.splitlines()[1:] == [
        f"error: {broken}/model.safetensors: damaged: its sha256 is not the one in config.json"
    ]
    (broken / "roles.json").unlink()
    assert minillm("info", broken).stderr.startswith(f"error: {broken}: no roles.json in it; ")


def test_bench_measures_each_length(checkpoint: Path) -> None:
    done = minillm("bench", checkpoint, "--length", 5, "--length", 63, "--repeats", 2, "--json")
    facts = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (facts["model"], facts["dtype"], facts["repeats"]) == ("tiny", "float32", 2)
    assert [row["tokens"] for row in facts["speeds"]] == [5, 63]
    assert all(row["prefill"] > 0 and row["decode"] > 0 for row in facts["speeds"])
    parameters = json.loads(minillm("info", checkpoint, "--json").stdout)["parameters"]
    loading = facts["loading"]
    assert loading["weight_bytes"] == 4 * parameters
    assert loading["peak_of_weights"] == loading["peak_bytes"] / loading["weight_bytes"]


def test_bench_for_people_takes_lengths_that_fit(checkpoint: Path) -> None:
    done = minillm("bench", checkpoint, "--repeats", 1, "--dtype", "bfloat16", "--threads", 1)
    title, loading, head, row = done.stdout.splitlines()
    assert title == "tiny, bfloat16, packed weights, cpu, threads: 1, medians of 1"
    assert loading.startswith("loading: ")
    assert head.split() == ["tokens", "prefill,", "tokens/s", "decode,", "tokens/s"]
    assert row.split()[0] == "63"  # of 64 positions; 128 do not fit
    done = minillm("bench", checkpoint, "--length", 64)
    assert done.exit_code == 1
    assert "--length 64 and a token after it: the model's context is 64" in done.stderr


def test_convert_passes_everything_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def convert_nothing(source: Path, target: Path, **options: object) -> Converted:
        asked.update(options, source=source, target=target)
        made = write_checkpoint(target)
        return Converted(made, load(made).config, 11, ("rope_freqs.weight",), ("<|user|>",))

    monkeypatch.setattr("minillm.convert.convert", convert_nothing)
    command = ("convert", "a.gguf", tmp_path / "b", "--roles", "r.json", "--dtype", "bfloat16")
    done = minillm(*command)
    assert done.exit_code == 0
    assert (asked["source"], asked["target"]) == (Path("a.gguf"), tmp_path / "b")
    assert (asked["roles"], asked["dtype"]) == ("r.json", torch.bfloat16)
    skipped, plain, made = done.stderr.splitlines()
    assert skipped == "skipped rope_freqs.weight: it is in no weight"
    assert plain.startswith("the chat marker <|user|> is ordinary text to this model")
    assert made.startswith(f"{tmp_path / 'b'}: 11 weights, ")


def test_convert_fails_in_one_line(tmp_path: Path) -> None:
    done = minillm("convert", tmp_path / "none.gguf", tmp_path / "b")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {tmp_path}/none.gguf: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "b").exists()
