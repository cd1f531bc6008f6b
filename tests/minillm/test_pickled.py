"""`.bin` weights: refused unless asked for, then read in a process that can do no harm."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import load_file
from torch import Tensor

from minillm.checkpoint import load
from minillm.config_file import load_config
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.foreign import pickled
from minillm.foreign.unpickle_child import write_tensors

PACKAGE = Path(pickled.__file__).parents[1]
Tensors = dict[str, Tensor]


def tensors(**changes: bool) -> Tensors:
    return {name: torch.from_numpy(a) for name, a in tiny.weights(**changes).items()}


def folder(path: Path, content: object, parts: int = 1, config: object = tiny.HF_CONFIG) -> Path:
    """A Hugging Face folder with pickled weights only."""
    source = tiny.write_folder(path / "hf", tiny.weights(), config=config)  # type: ignore[arg-type]
    (source / "model.safetensors").unlink()
    if parts == 1:
        torch.save(content, source / "pytorch_model.bin")
        return source
    assert isinstance(content, dict)
    homes = {name: f"part-{n % parts}.bin" for n, name in enumerate(sorted(content))}
    for home in set(homes.values()):
        part = {name: content[name] for name in content if homes[name] == home}
        # One part in the format of before 2020, which is no zip file.
        torch.save(part, source / home, _use_new_zipfile_serialization=home != "part-0.bin")
    index = json.dumps({"weight_map": homes})
    (source / "pytorch_model.bin.index.json").write_text(index, encoding="utf-8")
    return source


@pytest.mark.parametrize("parts", [1, 2])
def test_pickled_weights_are_converted_when_asked_for(tmp_path: Path, parts: int) -> None:
    source = folder(tmp_path, tensors(), parts)
    convert(source, tmp_path / "ours", allow_pickle=True)
    plain = tiny.write_folder(tmp_path / "plain", tiny.weights())
    convert(plain, tmp_path / "same", allow_pickle=True)
    ours, same = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "same"))
    assert ours.keys() == same.keys()
    assert all(torch.equal(ours[name], same[name]) for name in same)
    assert load(tmp_path / "ours").config == load(tmp_path / "same").config
    assert load_config(tmp_path / "ours").source["weights"] == "pickled"
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == sorted(
        p.name for p in (tmp_path / "same").iterdir()
    )


def test_safetensors_are_taken_where_there_are_both(tmp_path: Path) -> None:
    source = folder(tmp_path, {"no": "tensors"})
    tiny.write_folder(tmp_path / "hf", tiny.weights())
    convert(source, tmp_path / "ours")
    assert load_config(tmp_path / "ours").source["weights"] == "safetensors"


def test_shared_sliced_and_left_out_tensors(tmp_path: Path) -> None:
    found = tensors(tied=True)
    found["lm_head.weight"] = found["model.embed_tokens.weight"]
    gate = found["model.layers.0.mlp.gate_proj.weight"]
    found["model.layers.0.mlp.gate_proj.weight"] = torch.stack([gate, gate])[1].T.contiguous().T
    found["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4, dtype=torch.int64)
    source = folder(tmp_path, found, config=tiny.HF_CONFIG | {"tie_word_embeddings": True})
    made = convert(source, tmp_path / "ours", allow_pickle=True)
    assert made.skipped == ("model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.weight")
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert torch.equal(ours["blocks.0.mlp.gate_up.weight"][: len(gate)], gate)


class Harm:
    """Writes a file when it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.mark), "w")


def harmful(path: Path) -> None:
    torch.save(tensors() | {"x": Harm(path.parent.parent / "harmed")}, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("write", "error"), [(harmful, "UnpicklingError"), (cut, "")], ids=["code", "cut off"]
)
def test_what_is_no_file_of_tensors_is_refused(
    tmp_path: Path, write: Callable[[Path], object], error: str
) -> None:
    source = folder(tmp_path, tensors())
    write(source / "pytorch_model.bin")
    with pytest.raises(LoadError) as caught:
        convert(source, tmp_path / "ours", allow_pickle=True)
    message = f"{source}/pytorch_model.bin: not a file of tensors alone ({error}"
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]  # and nothing was harmed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "not a table of tensors by name"),
        ({1: torch.ones(2)}, "not a table of tensors by name"),
        ({"a": 1}, "'a' is int, expected a tensor of F64, F32, F16, BF16"),
        ({"a": torch.ones(2, dtype=torch.int8)}, "'a' is torch.int8, expected a tensor"),
        ({"model": tensors()}, "'model' is dict, expected a tensor"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, message: str) -> None:
    answer = write_tensors(content, tmp_path / "x.safetensors", skipped=())
    assert message in str(answer["error"])
    assert not any(tmp_path.iterdir())


def test_a_file_that_takes_too_much_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder(tmp_path, {"a": torch.ones(1).expand(1 << 34)})  # 64 GB out of 4 bytes
    with pytest.raises(LoadError, match=r"reading it was (stopped|failed|ended)"):
        convert(source, tmp_path / "ours", allow_pickle=True)
    limited = pickled.run_limited
    monkeypatch.setattr(
        pickled, "run_limited", lambda *a: limited(*a[:2], replace(a[2], memory_bytes=1 << 26))
    )
    with pytest.raises(LoadError, match=r"reading it was (failed|ended)"):
        convert(folder(tmp_path, tensors()), tmp_path / "ours", allow_pickle=True)
    assert not (tmp_path / "ours").exists()


def test_one_file_reads_pickles() -> None:
    readers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
                readers.add(path.name)
    assert readers == {"unpickle_child.py"}
