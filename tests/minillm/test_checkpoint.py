"""Loading a converted checkpoint: strict, verified, in the dtype asked for."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import load_file, save_file

from minillm.checkpoint import LoadedModel, header_ids, load
from minillm.config import ModelConfig, RopeScaling
from minillm.config_file import CheckpointConfig, load_config, save_config
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.families import num_parameters
from minillm.families.llama import LlamaConfig
from minillm.model import ForwardPlan, Run
from minillm.rope import rope_for
from minillm.special_tokens import add_header
from minillm.weights_file import TensorSpec, open_weights, sha256_of, write_weights

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tiny.write_folder(tmp_path / "source", tiny.weights())
    return convert(source, tmp_path / "tiny").folder


def logits(model: LoadedModel) -> torch.Tensor:
    cache, tokens = model.transformer.new_cache(4), torch.tensor([5, 6, 7, 8])
    found: torch.Tensor = model.transformer(
        tokens, torch.arange(4), ForwardPlan([Run(cache, 4)], [3])
    )
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_loads_in_the_dtype_asked_for(folder: Path, dtype: torch.dtype) -> None:
    model = load(folder, dtype=dtype, weights="plain")
    assert model.name == "tiny"
    assert {p.dtype for p in model.transformer.parameters()} == {dtype}
    assert not any(p.requires_grad or p.is_meta for p in model.transformer.parameters())
    assert not model.transformer.training
    stored = load_file(folder / WEIGHTS)
    for name, parameter in model.transformer.named_parameters():
        assert torch.equal(parameter, stored[name].to(dtype))
    assert logits(model).shape == (1, tiny.V)
    assert torch.isfinite(logits(model)).all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.name = "other"  # type: ignore[misc]


def test_the_name_of_a_dtype_is_none(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"dtype is 'float32', expected one of torch's"):
        load(folder, dtype="float32")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"dtype is torch.int8, expected one of torch's"):
        load(folder, dtype=torch.int8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_told_in_a_line(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"device is cuda:1, but there is no CUDA device here"):
        load(folder, device="cuda:1")


def test_weights_in_the_stored_dtype_are_mapped_not_copied(folder: Path) -> None:
    # In memory they lie as far from one another as in the file.
    data = (folder / WEIGHTS).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    starts = {
        parameter.data_ptr() - header[name]["data_offsets"][0]
        for name, parameter in load(folder, weights="plain").transformer.named_parameters()
    }
    assert len(starts) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_are_converted_in_chunks(
    folder: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minillm.weights_file.CHUNK_BYTES", 56)  # no weight is a number of them
    model, stored = load(folder, dtype=dtype, weights="plain"), load_file(folder / WEIGHTS)
    for name, parameter in model.transformer.named_parameters():
        assert torch.equal(parameter, stored[name].to(dtype))


@pytest.mark.parametrize("tied", [False, True])
def test_a_tied_output_is_stored_once_and_used_twice(tmp_path: Path, tied: bool) -> None:
    weights = tiny.weights(tied=tied)
    config = tiny.HF_CONFIG | {"tie_word_embeddings": tied}
    source = tiny.write_folder(tmp_path / "source", weights, config=config)
    model = load(convert(source, tmp_path / "tiny").folder, weights="plain")
    assert ("output.weight" in load_file(tmp_path / "tiny" / WEIGHTS)) is not tied
    output = model.transformer.output
    assert (output is None) is tied


def test_the_fingerprint_is_that_of_weights_and_shape(folder: Path, tmp_path: Path) -> None:
    fingerprint = load(folder).fingerprint
    assert load(folder, dtype=torch.bfloat16).fingerprint == fingerprint
    again = convert(tmp_path / "source", tmp_path / "again").folder
    assert load(again).fingerprint == fingerprint
    stored = load_config(again)
    shape = dataclasses.replace(stored.model, rope_theta=5000.0)
    save_config(dataclasses.replace(stored, model=shape), again)
    assert load(again).fingerprint != fingerprint
    other = tiny.write_folder(tmp_path / "other", tiny.weights(seed=1))
    assert load(convert(other, tmp_path / "third").folder).fingerprint != fingerprint


CONFIG = ModelConfig(
    family="llama",
    vocab_size=100,
    hidden_size=64,
    intermediate_size=96,
    num_layers=3,
    num_heads=6,
    num_kv_heads=2,
    head_dim=16,
    max_positions=2048,
    norm_eps=1e-5,
    position_scheme="rope",
    tie_embeddings=True,
    family_config=LlamaConfig(attention_bias=True),
    rope_theta=500000.0,
    rotary_dim=16,
    rope_scaling=RopeScaling("llama3", 8.0, original_max_positions=8192),
)


@pytest.mark.parametrize(
    "config", [CONFIG, dataclasses.replace(CONFIG, rope_scaling=None, rotary_dim=8)]
)
def test_a_configuration_comes_back_from_its_file(tmp_path: Path, config: ModelConfig) -> None:
    stored = CheckpointConfig(config, "ab" * 32, {"format": "GGUF", "file": "x.gguf"})
    save_config(stored, tmp_path)
    assert load_config(tmp_path) == stored


def path_to(keys: str, value: object) -> Callable[[dict[str, Any]], object]:
    """Sets the field at `a.b.c`, or deletes it where the value is `...`."""

    def edit(content: dict[str, Any]) -> None:
        *parents, last = keys.split(".")
        for key in parents:
            content = content[key]
        if value is ...:
            del content[last]
        else:
            content[last] = value

    return edit


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("format", 2, "format is 2, expected 1"),
        (
            "model_type",
            "llama",
            "of a Hugging Face folder: minillm convert makes a checkpoint of it",
        ),
        ("auto_map", {"AutoModel": "x.py"}, "the file has the unknown key 'auto_map'"),
        ("weights", ..., "the file lacks 'weights'"),
        ("model", [], "family is None, known are llama"),
        ("model.family", "os.system", "family is 'os.system', known are llama"),
        ("model.family", ["llama"], "family is ['llama'], known are llama"),
        ("model.num_layers", 10**9, "num_layers is 1000000000, expected a whole number up to 1024"),
        ("model.hidden_size", -1, "hidden_size is -1, expected a whole number"),
        ("model.hidden_size", 64.0, "hidden_size is 64.0, expected a whole number"),
        ("model.hidden_size", True, "hidden_size is True, expected a whole number"),
        ("model.hidden_size", "64" * 999, "hidden_size is '646464"),
        ("model.head_dim", 0, "head_dim is 0, expected at least 1"),
        ("model.num_kv_heads", 3, "4 query heads cannot share 3 key/value heads"),
        ("model.rotary_dim", 7, "rotary_dim is 7, expected an even number"),
        ("model.norm_eps", None, "norm_eps is None, expected a number"),
        ("model.norm_eps", -1e-5, "norm_eps is -1e-05, expected a number from 0"),
        ("model.rope_theta", float("nan"), "rope_theta is nan, expected a number from 0"),
        ("model.position_scheme", "learned", "position_scheme is 'learned', expected one of"),
        ("model.tie_embeddings", 1, "tie_embeddings is 1, expected true or false"),
        ("model.norm_eps", ..., "model lacks 'norm_eps'"),
        ("model.trust_remote_code", True, "model has the unknown key 'trust_remote_code'"),
        ("model.family_config.mlp_bias", ..., "family_config lacks 'mlp_bias'"),
        ("model.rope_scaling", {"kind": "linear"}, "rope_scaling lacks 'attention_factor'"),
        ("source", "x", "source is 'x', expected an object"),
        ("source.file", 1, "file is 1, expected a text"),
        ("source.file", "x" * 2000, "expected a text of at most 1024"),
        ("weights.sha256", 7, "sha256 is 7, expected a text"),
    ],
)
def test_a_wrong_configuration_is_refused(
    folder: Path, keys: str, value: object, message: str
) -> None:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path_to(keys, value)(content)
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LoadError) as caught:
        load(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(folder)) + 250


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Other weights with a sha256 that fits: what a broken converter could write."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    stored = load_config(folder)
    save_config(dataclasses.replace(stored, weights_sha256=sha256_of(folder / WEIGHTS)), folder)


WRONG_WEIGHTS: Mapping[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "missing": (lambda w: w.pop("norm.weight"), "lacks norm.weight (1 missing)"),
    "extra": (
        lambda w: w.update({"blocks.9.x": torch.ones(2)}),
        "'blocks.9.x' is no weight of the model",
    ),
    "shape": (
        lambda w: w.update({"norm.weight": torch.ones(31)}),
        "norm.weight has shape (31,), expected (32,)",
    ),
    "integers": (
        lambda w: w.update({"norm.weight": torch.ones(32, dtype=torch.int32)}),
        "tensor 'norm.weight' is I32, expected F64, F32, F16, BF16",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS.keys())
def test_wrong_weights_are_refused_by_name(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    rewritten(folder, change)
    with pytest.raises(LoadError) as caught:
        load(folder)
    assert str(caught.value).endswith(message)
    assert str(folder / WEIGHTS) in str(caught.value)


def test_a_header_must_be_known_to_weights_and_tokens_alike(folder: Path) -> None:
    config = load_config(folder).model
    shape = (config.num_layers, 2, 2 * config.num_kv_heads * config.head_dim)
    rewritten(folder, lambda w: w.update({"header": torch.ones(shape)}))
    with pytest.raises(LoadError, match=r"roles\.json names a header of 0 tokens, not of 2"):
        load(folder)
    add_header(header_ids(config, 2), folder)
    assert torch.equal(load(folder).transformer.state_dict()["header"], torch.ones(shape))
    for wrong in ((*shape[:2], shape[2] + 1), shape[:2], (1,), (), (2, 1 << 61, 0), (2, 0, 64)):
        rewritten(folder, lambda w, wrong=wrong: w.update({"header": torch.ones(wrong)}))
        with pytest.raises(LoadError, match="the header has shape"):
            load(folder)
    rewritten(folder, lambda w: w.pop("header"))
    with pytest.raises(LoadError, match=r"roles\.json names a header of 2 tokens, not of 0"):
        load(folder)


def test_the_keys_and_values_of_a_header_are_given(folder: Path) -> None:
    """Turned to their position, whatever stands before them; what does not see them is the same."""
    config = load_config(folder).model
    size = config.num_layers, 2, 2 * config.num_kv_heads * config.head_dim
    rewritten(folder, lambda w: w.update({"header": torch.randn(size)}))
    add_header(header_ids(config, 2), folder)
    model = load(folder, dtype=torch.float64).transformer
    cache, tokens = model.new_cache(), torch.tensor([5, *header_ids(config, 2), 6])
    model(tokens, torch.arange(4), ForwardPlan([Run(cache, 4)], [3]))
    assert model.header is not None
    keys, values = model.header.unflatten(2, (2, config.num_kv_heads, config.head_dim)).unbind(2)
    rope = rope_for(config, torch.device("cpu"))
    for layer in range(config.num_layers):
        turned = [rope.turn(keys[layer, n, :, None], 1 + n) for n in range(2)]
        torch.testing.assert_close(cache.keys(layer)[:, 1:3], torch.cat(turned, dim=1))
        assert torch.equal(cache.values(layer)[:, 1:3], values[layer].transpose(0, 1))


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "roles.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(LoadError, match=name.replace(".", r"\.")):
        load(folder)


def test_a_vocabulary_larger_than_the_models_is_refused(folder: Path, tmp_path: Path) -> None:
    definition = tiny.tokenizer_json()
    definition["model"]["vocab"] |= {"Ġtt": tiny.V}
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    with pytest.raises(LoadError, match="the tokenizer has 261 tokens, the model 260"):
        load(folder)


@pytest.mark.fuzz
def test_any_damage_to_the_weights_is_noticed(folder: Path) -> None:
    path = folder / WEIGHTS
    good = path.read_bytes()
    for seed in range(200):
        rng, damaged = random.Random(seed), bytearray(good)
        # Half of the damage is done to the header, which is one part in ten thousand.
        at = rng.randrange(len(good) if seed % 2 else 2000)
        match rng.randrange(4):
            case 0:
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[at:]
            case 2:
                damaged[at:at] = rng.randbytes(rng.randint(1, 9))
            case 3:
                damaged[:8] = rng.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1)).to_bytes(
                    8, "little"
                )
        path.write_bytes(damaged)
        with pytest.raises(LoadError) as caught:
            load(folder)
        assert "\n" not in str(caught.value), seed
    path.write_bytes(good)
    load(folder)


def test_weights_are_written_one_at_a_time_and_aligned(tmp_path: Path) -> None:
    specs = {
        "odd": TensorSpec(torch.bfloat16, (3,)),
        "scalar": TensorSpec(torch.float64, ()),
        "wide": TensorSpec(torch.float32, (2, 5)),
        "empty": TensorSpec(torch.float32, (0, 4)),
    }
    tensors = {name: torch.ones(spec.shape, dtype=spec.dtype) for name, spec in specs.items()}
    tensors["wide"] = torch.arange(10.0).view(5, 2).T  # not contiguous
    path = tmp_path / WEIGHTS
    assert write_weights(path, specs, tensors.__getitem__) == sha256_of(path)
    with open_weights(path) as file:
        for name, tensor in tensors.items():
            assert file.spec(name) == specs[name]
            assert torch.equal(file.tensor(name), tensor)
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 64 == 0
    with pytest.raises(ValueError, match="expected TensorSpec"):
        write_weights(path, specs, lambda name: torch.ones(7))


@pytest.mark.model
def test_smollm2_loads() -> None:
    model = load(Path(__file__).parent.parent.parent / "weights" / "smollm2-135m-instruct")
    config = model.config
    assert (config.num_layers, config.hidden_size, config.vocab_size) == (30, 576, 49152)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (9, 3, 64)
    assert (config.rope_theta, config.max_positions, config.tie_embeddings) == (1e5, 8192, True)
    assert config.kv_bytes_per_token(4) == 46_080
    assert num_parameters(config) == 134_515_008
