"""Conversion: every tensor accounted for, exact numbers, refusals that leave nothing behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf as oracle
import gguf_writer as g
import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import load_file, save_file
from tiny_model import write_checkpoint
from torch import Tensor

from minillm.checkpoint import load
from minillm.config_file import load_config
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.gguf import GGUFFile
from minillm.tokenizer import load_tokenizer

ROOT = Path(__file__).parent.parent.parent
SMOLLM2 = ROOT / "weights" / "smollm2-135m-instruct"


def converted(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(folder / "model.safetensors")
    return found


def expected(weights: tiny.Weights) -> dict[str, Tensor]:
    """What the tiny model's weights are under our names, written out by hand."""
    source = {name: torch.from_numpy(array) for name, array in weights.items()}
    ours = {
        "embedding.weight": source["model.embed_tokens.weight"],
        "norm.weight": source["model.norm.weight"],
    }
    for layer in range(tiny.L):
        theirs, block = f"model.layers.{layer}.", f"blocks.{layer}."
        qkv = [source[f"{theirs}self_attn.{part}_proj.weight"] for part in "qkv"]
        gate_up = [source[f"{theirs}mlp.{part}_proj.weight"] for part in ("gate", "up")]
        ours |= {
            f"{block}attention_norm.weight": source[f"{theirs}input_layernorm.weight"],
            f"{block}attention.qkv.weight": torch.cat(qkv),
            f"{block}attention.output.weight": source[f"{theirs}self_attn.o_proj.weight"],
            f"{block}mlp_norm.weight": source[f"{theirs}post_attention_layernorm.weight"],
            f"{block}mlp.gate_up.weight": torch.cat(gate_up),
            f"{block}mlp.down.weight": source[f"{theirs}mlp.down_proj.weight"],
        }
    if "lm_head.weight" in source:
        ours["output.weight"] = source["lm_head.weight"]
    return ours


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_a_hugging_face_folder(tmp_path: Path, parts: int, tied: bool) -> None:
    weights = tiny.weights(tied=tied)
    config = tiny.HF_CONFIG | {"tie_word_embeddings": tied}
    source = tiny.write_folder(tmp_path / "hf", weights, config=config, parts=parts)
    result = convert(source, tmp_path / "ours")
    assert_same(converted(tmp_path / "ours"), expected(weights))
    assert result.num_weights == len(expected(weights))
    assert result.skipped == ()
    model = load(tmp_path / "ours")
    assert model.config == result.config
    assert (model.config.num_kv_heads, model.config.tie_embeddings) == (tiny.K, tied)
    assert (model.tokenizer.bos_id, model.tokenizer.placeholder_id) == (None, 0)
    assert model.tokenizer.stop_ids == {0, 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "ours"]


@pytest.mark.parametrize("tied", [False, True])
def test_a_gguf_file(tmp_path: Path, tied: bool) -> None:
    weights = tiny.weights(tied=tied)
    source = tiny.write_gguf(tmp_path / "tiny.gguf", tiny.gguf_tensors(weights))
    result = convert(source, tmp_path / "ours")
    assert_same(converted(tmp_path / "ours"), expected(weights))
    assert (result.config.vocab_size, result.config.tie_embeddings) == (tiny.V, tied)
    provenance = load_config(tmp_path / "ours").source
    assert provenance["file"] == "tiny.gguf"
    assert provenance["general.name"] == "tiny"
    assert provenance["tensor types"] == f"{20 + (not tied)} F32"
    tokenizer = load_tokenizer(tmp_path / "ours")
    assert tokenizer.encode(" to<|im_end|>12")[0] == tiny.TOKENS.index("Ġt")
    assert tokenizer.decode(tokenizer.encode(" to<|im_end|>12")) == " to<|im_end|>12"
    assert tokenizer.roles["user"].open[0] == 1
    assert (tokenizer.bos_id, tokenizer.placeholder_id) == (None, 0)


def test_packed_types_become_exact_float32_and_float_types_stay(tmp_path: Path) -> None:
    weights = tiny.weights(tied=True)
    tensors = {tensor.name: tensor for tensor in tiny.gguf_tensors(weights)}
    wanted = expected(weights)

    packed = oracle.GGMLQuantizationType.Q8_0
    q8 = oracle.quants.quantize(weights["model.embed_tokens.weight"], packed)
    tensors["token_embd.weight"].kind = g.Q8_0
    tensors["token_embd.weight"].data = q8.tobytes()
    exact = oracle.quants.dequantize(q8, packed)
    wanted["embedding.weight"] = torch.from_numpy(exact)

    down = weights["model.layers.0.mlp.down_proj.weight"].astype(np.float16)
    tensors["blk.0.ffn_down.weight"] = tiny.gguf_tensor("blk.0.ffn_down.weight", down, g.F16)
    wanted["blocks.0.mlp.down.weight"] = torch.from_numpy(down)

    # A matrix of ours that is made of two dtypes takes the one that holds both.
    gate = weights["model.layers.1.mlp.gate_proj.weight"].astype(np.float16)
    tensors["blk.1.ffn_gate.weight"] = tiny.gguf_tensor("blk.1.ffn_gate.weight", gate, g.F16)
    up = torch.from_numpy(weights["model.layers.1.mlp.up_proj.weight"])
    wanted["blocks.1.mlp.gate_up.weight"] = torch.cat([torch.from_numpy(gate).float(), up])

    source = tiny.write_gguf(tmp_path / "tiny.gguf", list(tensors.values()))
    convert(source, tmp_path / "ours")
    assert_same(converted(tmp_path / "ours"), wanted)


def test_bfloat16_stays_and_another_dtype_can_be_asked_for(tmp_path: Path) -> None:
    weights = {n: torch.from_numpy(a).bfloat16() for n, a in tiny.weights().items()}
    source = tiny.write_folder(tmp_path / "hf", weights)
    convert(source, tmp_path / "kept")
    convert(source, tmp_path / "asked", dtype=torch.float16)
    kept, asked = converted(tmp_path / "kept"), converted(tmp_path / "asked")
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    assert torch.equal(kept["embedding.weight"], weights["model.embed_tokens.weight"])
    assert {tensor.dtype for tensor in asked.values()} == {torch.float16}
    assert torch.equal(asked["norm.weight"], weights["model.norm.weight"].half())


def test_what_holds_no_weight_is_skipped_and_named(tmp_path: Path) -> None:
    weights: dict[str, Any] = tiny.weights(tied=True)
    config = tiny.HF_CONFIG | {"tie_word_embeddings": True}
    frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq"
    extra = {
        frequencies: np.ones(4, np.float32),
        "lm_head.weight": weights["model.embed_tokens.weight"].copy(),
    }
    source = tiny.write_folder(tmp_path / "hf", weights | extra, config=config)
    assert convert(source, tmp_path / "ours").skipped == (frequencies, "lm_head.weight")
    assert_same(converted(tmp_path / "ours"), expected(weights))

    ones = tiny.gguf_tensor("rope_freqs.weight", np.ones(4, np.float32))
    path = tiny.write_gguf(tmp_path / "tiny.gguf", [*tiny.gguf_tensors(weights), ones])
    assert convert(path, tmp_path / "ours2").skipped == ("rope_freqs.weight",)


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    source = tiny.write_folder(tmp_path / "hf", tiny.weights())
    calls: list[tuple[int, int]] = []
    convert(source, tmp_path / "ours", progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    size = sum(tensor.nbytes for tensor in converted(tmp_path / "ours").values())
    assert calls[-1] == (size, size)


Make = Callable[[Path], Path]


def folder(**changes: Any) -> Make:
    return lambda path: tiny.write_folder(path / "source", tiny.weights(), **changes)


def without(name: str) -> Make:
    weights = tiny.weights()
    del weights[name]
    return lambda path: tiny.write_folder(path / "source", weights)


def having(name: str, array: Any, **changes: Any) -> Make:
    weights: dict[str, Any] = tiny.weights() | {name: array}
    return lambda path: tiny.write_folder(path / "source", weights, **changes)


def file(*extra: g.Tensor, **changes: object) -> Make:
    tensors = [*tiny.gguf_tensors(tiny.weights()), *extra]
    return lambda path: tiny.write_gguf(path / "x.gguf", tensors, tiny.gguf_metadata(**changes))


def spm_metadata(tokens: object = None, kinds: object = None) -> dict[str, object]:
    """Of a SentencePiece vocabulary in place of the BPE one."""
    return {
        "tokenizer__ggml__model": "llama",
        "tokenizer__ggml__tokens": tokens or ["<unk>", "<s>", "</s>", "▁", "a", "▁a"],
        "tokenizer__ggml__token_type": kinds or [2, 3, 3, 1, 1, 1],
        "tokenizer__ggml__scores": [0.0, 0.0, 0.0, -1.0, -2.0, -3.0],
        "tokenizer__chat_template": None,
    }


def edited(edit: Callable[[Path], object], **changes: Any) -> Make:
    def make(path: Path) -> Path:
        source = folder(**changes)(path)
        edit(source)
        return source

    return make


def index(content: object) -> Callable[[Path], None]:
    """In place of the weights an index that says this."""

    def write(source: Path) -> None:
        (source / "model.safetensors").unlink()
        (source / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")

    return write


def pickled(source: Path) -> None:
    (source / "model.safetensors").rename(source / "pytorch_model.bin")


def piped(name: str) -> Callable[[Path], None]:
    """In place of a file a pipe, which would wait for a writer."""

    def replace(source: Path) -> None:
        (source / name).unlink()
        os.mkfifo(source / name)

    return replace


def doubled(source: Path) -> None:
    name = "model-00001-of-00002.safetensors"
    save_file(load_file(source / name), source / "model-00002-of-00002.safetensors")


NORM = "model.norm.weight"
RENAMED = {"model_type": "gpt2"}
TIED = tiny.HF_CONFIG | {"tie_word_embeddings": True}
NO_MARKER = tiny.TOKENIZER_CONFIG | {"chat_template": tiny.CHATML.replace("im_", "IM_")}
LLAMA3 = tiny.TOKENIZER_CONFIG | {"chat_template": "<|start_header_id|>{{ role }}<|end_header_id|>"}
REFUSED: dict[str, tuple[Make, str]] = {
    "nothing there": (lambda path: path / "absent", "no such file"),
    "an empty folder": (
        lambda path: path,
        "no config.json in it: expected a Hugging Face folder, or a GGUF file",
    ),
    "the weights alone": (
        lambda path: folder()(path) / "model.safetensors",
        "give the folder that it is in, with its config.json",
    ),
    "a folder of ours": (
        lambda path: write_checkpoint(path / "ours already"),
        "is a converted checkpoint already",
    ),
    "a configuration that is a pipe": (edited(piped("config.json")), "no config.json in it"),
    "weights that are a pipe": (
        edited(piped("model-00002-of-00002.safetensors"), parts=2),
        "model-00002-of-00002.safetensors: no such file",
    ),
    "a tokenizer that is a pipe": (edited(piped("tokenizer.json")), "neither tokenizer.json nor"),
    "a configuration that is no JSON": (
        edited(lambda path: (path / "config.json").write_bytes(b'{"\xff": 1}')),
        "config.json: not JSON: ",
    ),
    "a configuration nested without end": (
        edited(lambda path: (path / "config.json").write_text("[" * 200_000)),
        "config.json: nested too deep",
    ),
    "a missing tensor": (without(NORM), f"tensor {NORM} is missing (1 in all)"),
    "an unknown tensor": (
        having("model.extra.weight", np.ones(3, np.float32)),
        "tensor 'model.extra.weight' has no place in the model",
    ),
    "a bias that the configuration lacks": (
        having("model.layers.0.self_attn.q_proj.bias", np.ones(32, np.float32)),
        "q_proj.bias' has no place in the model",
    ),
    "a wrong shape": (
        having(NORM, np.ones(31, np.float32)),
        f"{NORM}: shapes [(31,)] do not make up (32,), the shape of norm.weight",
    ),
    "a wrong part of a matrix": (
        having("model.layers.0.self_attn.k_proj.weight", np.ones((16, 31), np.float32)),
        "do not make up (64, 32), the shape of blocks.0.attention.qkv.weight",
    ),
    "a scalar": (having(NORM, np.float32(1)), f"{NORM}: shapes [()]"),
    "integers": (having(NORM, np.ones(32, np.int64)), f"tensor '{NORM}' is I64, expected F64, F32"),
    "an output that should be tied": (
        folder(config=TIED),
        "tensor 'lm_head.weight' has no place in the model",
    ),
    "another family": (
        folder(config=tiny.HF_CONFIG | RENAMED),
        "architecture 'gpt2' is not supported, known are llama, falcon, mpt",
    ),
    "a configuration with a hole": (
        folder(config={k: v for k, v in tiny.HF_CONFIG.items() if k != "hidden_size"}),
        "the configuration lacks 'hidden_size'",
    ),
    "a configuration without heads": (
        folder(config=tiny.HF_CONFIG | {"num_attention_heads": 0}),
        "the configuration is not supported",
    ),
    "a configuration of texts": (
        folder(config=tiny.HF_CONFIG | {"hidden_size": "64"}),
        "hidden_size is '64', expected a whole number",
    ),
    "a quantised folder": (
        folder(config=tiny.HF_CONFIG | {"quantization_config": {}}),
        "quantised weights are not supported",
    ),
    "pickled weights": (
        edited(pickled),
        "pytorch_model.bin: pickled weights could run code: if you trust their maker, convert",
    ),
    "an index of other files": (
        edited(index({"weight_map": {NORM: "x.bin"}})),
        "'x.bin' is not a .safetensors file of the folder",
    ),
    "an index that leads outside": (
        edited(index({"weight_map": {NORM: "../x"}})),
        "'../x' is not a .safetensors file of the folder",
    ),
    "an index without a map": (
        edited(index([])),
        "it has no weight_map",
    ),
    "an index of absent files": (
        edited(index({"weight_map": {NORM: "x.safetensors"}})),
        "x.safetensors: no such file",
    ),
    "a tensor in two files": (edited(doubled, parts=2), "is in two files"),
    "no tokenizer": (
        edited(lambda path: (path / "tokenizer.json").unlink()),
        "neither tokenizer.json nor tokenizer.model",
    ),
    "a vocabulary larger than the model's": (
        lambda path: tiny.write_folder(
            path / "source",
            tiny.weights(vocab_size=259),
            config=tiny.HF_CONFIG | {"vocab_size": 259},
        ),
        "the tokenizer has 260 tokens, the model 259",
    ),
    "a billion layers": (
        folder(config=tiny.HF_CONFIG | {"num_hidden_layers": 10**9}),
        "num_layers is 1000000000, expected a whole number up to 1024",
    ),
    "an infinite theta": (
        folder(config=tiny.HF_CONFIG | {"rope_theta": float("inf")}),
        "rope_theta is inf, expected a number from 0",
    ),
    "a template nobody knows": (folder(tokenizer_config=LLAMA3), "--roles"),
    "markers that the vocabulary lacks": (
        edited(lambda path: None, tokenizer=tiny.tokenizer_json() | {"added_tokens": []}),
        "a chat marker needs '<|im_start|>', which is no special token",
    ),
    "a GGUF file of another family": (
        file(general__architecture="gemma"),
        "architecture 'gemma' is not supported",
    ),
    "a GGUF file without layers": (file(llama__block_count=None), "lacks 'block_count'"),
    "one part of a GGUF file": (file(split__count=2), "one part of several"),
    "scaled frequencies": (
        file(tiny.gguf_tensor("rope_freqs.weight", np.full(4, 2, np.float32))),
        "scales RoPE's frequencies",
    ),
    "a GGUF tensor from elsewhere": (
        file(tiny.gguf_tensor("v.patch_embd.weight", np.ones(3, np.float32))),
        "tensor 'v.patch_embd.weight' has no place in the model",
    ),
    "a GGUF layer too many": (
        file(tiny.gguf_tensor("blk.2.attn_norm.weight", np.ones(32, np.float32))),
        "tensor 'model.layers.2.input_layernorm.weight' has no place in the model",
    ),
    "another pre-tokenizer": (
        file(tokenizer__ggml__pre="deepseek-llm"),
        "pre-tokenizer 'deepseek-llm' is not supported in GGUF, known: smollm, falcon",
    ),
    "no pre-tokenizer": (
        file(tokenizer__ggml__pre=None),
        "pre-tokenizer 'default' is not supported in GGUF",
    ),
    "another kind of tokenizer": (
        file(tokenizer__ggml__model="t5"),
        "tokenizer 't5' is not supported in GGUF, known are 'gpt2'",
    ),
    "SentencePiece without scores": (
        file(tokenizer__ggml__model="llama"),
        "tokenizer.ggml.scores is no list of one number for each token",
    ),
    "SentencePiece with a kind unheard of": (
        file(**spm_metadata(kinds=[2, 3, 9, 1, 1, 1])),
        "tokenizer.ggml.token_type has the unknown kind 9",
    ),
    "SentencePiece without an unknown token": (
        file(**spm_metadata(kinds=[3, 3, 3, 1, 1, 1])),
        "the vocabulary has 0 unknown tokens, expected 1",
    ),
    "SentencePiece with a token twice": (
        file(**spm_metadata(tokens=["<unk>", "<s>", "</s>", "a", "a", "b"])),
        "not a SentencePiece model",
    ),
    "SentencePiece that normalises": (
        file(tokenizer__ggml__precompiled_charsmap=[1], **spm_metadata()),
        "a SentencePiece vocabulary that normalises text is not supported in GGUF",
    ),
    "a switch that is a number": (
        file(tokenizer__ggml__add_bos_token=1),
        "tokenizer.ggml.add_bos_token is 1, expected true or false",
    ),
    "a vocabulary that is a text": (file(tokenizer__ggml__tokens="abc"), "is no list of strings"),
    "a token twice": (
        file(tokenizer__ggml__tokens=[*tiny.TOKENS[:-1], "!"]),
        "tokenizer.ggml.tokens has the same token twice",
    ),
    "kinds of other tokens": (file(tokenizer__ggml__token_type=[1]), "one number for each token"),
    "a merge of three": (file(tokenizer__ggml__merges=["Ġ t t"]), "'Ġ t t' is not two tokens"),
    "a merge of nothing known": (file(tokenizer__ggml__merges=["é é"]), "not a tokenizer.json"),
    "a token id that is a text": (
        file(tokenizer__ggml__eos_token_id="2"),
        "tokenizer.ggml.eos_token_id is '2', expected a token id",
    ),
    "an end of text beyond the vocabulary": (
        file(tokenizer__ggml__eos_token_id=9999),
        "special token 9999 is beyond the 260 tokens",
    ),
    "a GGUF file cut off": (
        lambda path: cut(file()(path)),
        "reaches beyond the end of the file",
    ),
}


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_converted_is_refused_in_one_line(
    tmp_path: Path, make: Make, message: str
) -> None:
    source = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(LoadError) as caught:
        convert(source, tmp_path / "ours")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(source))
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with pytest.raises(LoadError, match="exists already"):
        convert(tiny.write_folder(tmp_path / "hf", tiny.weights()), tmp_path / "ours")
    assert not any((tmp_path / "ours").iterdir())


@pytest.mark.model
def test_weights_of_smollm2_are_the_gguf_files() -> None:
    # With the permutation as llama.cpp's converter states it, inverted; three layers stand for all.
    file = GGUFFile.open(SMOLLM2.with_suffix(".gguf"))

    def weight(name: str) -> Tensor:
        return torch.from_numpy(file.load(f"{name}.weight"))

    def half_split(rows: Tensor, heads: int) -> Tensor:
        return rows.view(heads, 32, 2, 576).transpose(1, 2).reshape(heads * 64, 576)

    wanted = {"embedding.weight": weight("token_embd"), "norm.weight": weight("output_norm")}
    for layer in (0, 14, 29):
        ours, blk = f"blocks.{layer}.", f"blk.{layer}."
        q, k = half_split(weight(f"{blk}attn_q"), 9), half_split(weight(f"{blk}attn_k"), 3)
        gate_up = [weight(f"{blk}ffn_gate"), weight(f"{blk}ffn_up")]
        wanted |= {
            f"{ours}attention_norm.weight": weight(f"{blk}attn_norm"),
            f"{ours}attention.qkv.weight": torch.cat([q, k, weight(f"{blk}attn_v")]),
            f"{ours}attention.output.weight": weight(f"{blk}attn_output"),
            f"{ours}mlp_norm.weight": weight(f"{blk}ffn_norm"),
            f"{ours}mlp.gate_up.weight": torch.cat(gate_up),
            f"{ours}mlp.down.weight": weight(f"{blk}ffn_down"),
        }
    found = converted(SMOLLM2)
    assert_same({name: found[name] for name in wanted}, wanted)
