"""The families: golden logits of their publishers' code, refusals, what only some of them do."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import gguf
import pytest
import tiny_checkpoints as tiny
import torch
from families_golden import GOLDEN_FOLDER, SHOWN, drawn, our_logits, write_tokenizer
from safetensors.torch import save_file
from strategies import KINDS, ModelShape, hot
from torch import Tensor

from minillm import alibi
from minillm.checkpoint import LoadedModel, load
from minillm.config import ModelConfig
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.families import FAMILIES, falcon
from minillm.foreign.source import read_config
from minillm.generate import CHUNK, prefill
from minillm.kv import Placed
from minillm.model import ForwardPlan, Run, Transformer
from minillm.rope import frequencies
from pml.engine import PromptCache
from pml.reference import oracle

Golden = dict[str, Any]

GOLDEN: dict[str, dict[str, Golden]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN_FOLDER.glob("*.json"))
}
CASES = [(family, variant) for family, variants in GOLDEN.items() for variant in variants]
LAYERS = ("num_hidden_layers", "n_layer", "n_layers")


def tensors_of(golden: Golden) -> dict[str, Tensor]:
    """The weights that the golden logits were computed with, under the checkpoint's names."""
    (layers,) = (golden["config"][name] for name in LAYERS if name in golden["config"])
    named = {
        name.replace("{}", str(layer)): shape
        for name, shape in golden["shapes"].items()
        for layer in range(layers if "{}" in name else 1)
    }
    return {name: drawn(name, shape) for name, shape in named.items()}


def write_folder(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], parts: int = 1
) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    if parts == 1:
        save_file(dict(tensors), folder / "model.safetensors")
        return folder
    home = {name: f"model-{i % parts}.safetensors" for i, name in enumerate(tensors)}
    for file in set(home.values()):
        save_file({n: t for n, t in tensors.items() if home[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": home}))
    return folder


def loaded(family: str, variant: str, folder: Path, parts: int = 1) -> LoadedModel:
    golden = GOLDEN[family][variant]
    write_folder(folder / "theirs", golden["config"], tensors_of(golden), parts)
    convert(folder / "theirs", folder / "ours")
    return load(folder / "ours", dtype=torch.float64)


@pytest.mark.parametrize(("family", "variant"), CASES)
def test_golden_logits(family: str, variant: str, tmp_path: Path) -> None:
    # A prefill, then two tokens by themselves, each after a gap.
    golden = GOLDEN[family][variant]
    model = loaded(family, variant, tmp_path, parts=1 + len(variant) % 2).transformer
    steps = [(0, 10), (10, 11), (11, 12)]
    logits = our_logits(model, golden["tokens"], golden["positions"], steps)
    expected = torch.tensor(golden["logits"], dtype=torch.float64)
    torch.testing.assert_close(logits[9:, ::SHOWN], expected, rtol=1e-9, atol=1e-9)


# What cannot be converted

FIRST = {"llama": "llama3", "falcon": "40B", "mpt": "all together"}
Change = Callable[[dict[str, Tensor]], object]


def some(tensors: Mapping[str, Tensor]) -> str:
    """The name of a fused matrix in the middle of the model, or of the queries' one."""
    return next(n for n in tensors if ".1." in n and ("q" in n.split(".")[-2]) and "weight" in n)


CHANGES: dict[str, tuple[Change, str]] = {
    "missing": (lambda t: t.pop(some(t)), "is missing (1 in all)"),
    "extra": (lambda t: t.update({"transformer.extra": torch.ones(3)}), "has no place"),
    "renamed": (lambda t: t.update({some(t) + "s": t.pop(some(t))}), "is missing (1 in all)"),
    "a row too few": (lambda t: t.update({some(t): t[some(t)][1:].clone()}), "do not make up"),
    "a column too many": (
        lambda t: t.update({some(t): torch.cat((t[some(t)], t[some(t)][:, :1]), dim=1)}),
        "do not make up",
    ),
    "a layer too many": (
        lambda t: t.update({some(t).replace(".1.", ".9."): t[some(t)].clone()}),
        "has no place",
    ),
}


@pytest.mark.parametrize("family", FIRST)
@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_tensors_that_do_not_fit_are_refused_in_one_line(
    family: str, change: Change, message: str, tmp_path: Path
) -> None:
    golden = GOLDEN[family][FIRST[family]]
    tensors = tensors_of(golden)
    change(tensors)
    source = write_folder(tmp_path / "theirs", golden["config"], tensors)
    with pytest.raises(LoadError) as caught:
        convert(source, tmp_path / "ours")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(source))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("family", FIRST)
def test_a_truncated_file_is_refused(family: str, tmp_path: Path) -> None:
    golden = GOLDEN[family][FIRST[family]]
    source = write_folder(tmp_path / "theirs", golden["config"], tensors_of(golden))
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(LoadError, match=r"model\.safetensors: .*incomplete"):
        convert(source, tmp_path / "ours")


def with_rope(**fields: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_theta": 1e4, **fields}}


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("llama", {"sliding_window": 4096}, "sliding_window is 4096: sliding windows are not supp"),
    ("llama", {"model_type": "mistral"}, "sliding_window is 4096"),  # which it is by default
    ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu', supported is 'silu' only"),
    ("llama", {"hidden_size": "64"}, "hidden_size is '64', expected a whole number"),
    ("llama", {"hidden_size": None}, "lacks 'hidden_size'"),
    ("llama", {"rms_norm_eps": "tiny"}, "rms_norm_eps is 'tiny', expected a number"),
    ("llama", {"attention_bias": 1}, "attention_bias is 1, expected true or false"),
    ("llama", {"rope_parameters": 3}, "expected an object"),
    ("llama", with_rope(rope_type="axial"), "rope_type is 'axial', supported are default, linear"),
    ("llama", with_rope(rope_type="linear"), "lacks 'factor'"),
    ("llama", with_rope(rope_type="linear", factor=0), "factor of linear RoPE is 0.0"),
    ("llama", with_rope(rope_type="yarn", beta_fast=-1), "beta_fast of yarn RoPE is -1.0"),
    ("llama", with_rope(rope_theta=0.5), "rope_theta is 0.5, expected more than 1"),
    ("llama", with_rope(full_attention={"rope_type": "default"}), "differ from layer to layer"),
    ("llama", with_rope(partial_rotary_factor=0.4), "rotary_dim is"),
    ("llama", with_rope(rope_type="longrope", short_factor=2), "short_factor is 2, expected a l"),
    (
        "llama",
        with_rope(rope_type="longrope", short_factor=[1], long_factor=[1]),
        "longrope has 1 and 1 factors, expected",
    ),
    (
        "llama",
        with_rope(rope_type="dynamic", factor=2, partial_rotary_factor=0.25),
        "dynamic RoPE turns 2 channels, expected 4 or more",
    ),
    ("falcon", {"activation": "relu"}, "activation is 'relu', supported is 'gelu' only"),
    ("falcon", {"num_ln_in_parallel_attn": 3}, "num_ln_in_parallel_attn is 3, expected 1 or 2"),
    ("falcon", {"num_kv_heads": 4}, "6 query heads cannot share 4 key/value heads"),
    ("falcon", {"alibi": "yes"}, "alibi is 'yes', expected true or false"),
    ("mpt", {"norm_type": "rmsnorm"}, "norm_type is 'rmsnorm', expected a layernorm"),
    ("mpt", {"head_dim": 5}, "head_dim is 5, supported is 8 only"),
    ("mpt", {"attention_bias": False}, "attention_bias is False, supported is True only"),
    ("mpt", {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0"),
    ("mpt", {"expansion_ratio": 1.01}, "expected a whole number"),
    ("mpt", {"logit_scale": "by feeling"}, "logit_scale is 'by feeling', expected a number"),
    ("mpt", {"attn_config": {"rope": True}}, "rope is True, supported is False only"),
    ("mpt", {"attn_config": {"sliding_window_size": 99}}, "sliding_window_size is 99"),
    ("mpt", {"attn_config": {"fused_qkv": False}}, "fused_qkv is False, supported is True only"),
    ("mpt", {"attn_config": {"qk_ln": True, "qk_gn": True}}, "qk_ln and qk_gn are both set"),
    ("mpt", {"attn_config": {"attn_type": "flash"}}, "attn_type is 'flash', which is not supp"),
    ("mpt", {"attn_config": {"attn_type": "grouped_query_attention"}}, "lacks 'kv_n_heads'"),
    ("mpt", {"attn_config": {"kv_n_heads": 2}}, "kv_n_heads is 2, supported is 6 only"),
    (
        "mpt",
        {"attn_config": {"alibi": False}, "learned_pos_emb": False},
        "neither alibi nor learned_pos_emb is set: a model without positions",
    ),
    ("mpt", {"ffn_config": {"ffn_type": "mptglu"}}, "ffn_type is 'mptglu', supported is 'mptmlp'"),
]


@pytest.mark.parametrize(("family", "fields", "message"), REFUSED)
def test_configurations_that_are_not_supported_are_refused_in_one_line(
    family: str, fields: dict[str, object], message: str, tmp_path: Path
) -> None:
    golden = GOLDEN[family][FIRST[family]]
    config = {k: v for k, v in golden["config"].items() if k != "sliding_window"} | fields
    source = write_folder(tmp_path / "theirs", config, {"x": torch.ones(1)})
    with pytest.raises(LoadError) as caught:
        convert(source, tmp_path / "ours")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


ODD = (None, 0, -1, 1, 2.5, 1e308, math.inf, math.nan, "x", True, [], [None], {}, {"a": 1}, 10**30)
ROPES = ("default", "linear", "llama3", "yarn", "dynamic", "longrope")


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(20))
def test_any_configuration_gives_a_model_or_one_line(seed: int) -> None:
    rng, name = Random(seed), ("llama", "falcon", "mpt")[seed % 3]
    family, goldens = FAMILIES[name], list(GOLDEN[name].values())
    for _ in range(200):
        config = copy.deepcopy(rng.choice(goldens)["config"])
        for part in (config, config.get("attn_config"), config.setdefault("rope_scaling", {})):
            if isinstance(part, dict):
                names = rng.choices([*part, "rope_theta", "factor", "sliding_window"], k=2)
                part.update({name: rng.choice(ODD) for name in names})
        if isinstance(config["rope_scaling"], dict):
            config["rope_scaling"] |= {"rope_type": rng.choice(ROPES), "factor": rng.choice(ODD)}
        try:
            read = read_config(family.read_config, config)
        except LoadError as error:
            assert "\n" not in str(error)
            continue
        if read.position_scheme == "rope":
            assert len(frequencies(read, 10**6)) == read.rotary_dim // 2
        assert len(family.weights(read)) > 0


def test_numbers_may_be_written_as_whole_or_not() -> None:
    config = GOLDEN["mpt"]["all together"]["config"]
    fields = config | {"max_seq_len": 4096.0, "n_heads": 6.0, "logit_scale": 2, "norm_eps": 0}
    read = FAMILIES["mpt"].read_config(fields)
    assert (read.max_positions, read.num_heads, read.norm_eps) == (4096, 6, 0.0)
    assert read.family_config.logit_scale == 2.0


@pytest.mark.parametrize(
    ("rope", "positions"),
    [
        ({"rope_type": "default"}, 2048),
        ({"type": "linear", "factor": 4}, 8192),
        ({"type": "dynamic", "factor": 2.0}, 4096),
        ({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 512}, 2048),
        ({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 2048}, 8192),
    ],
)
def test_how_many_positions_a_scaled_model_has(rope: dict[str, object], positions: int) -> None:
    config = GOLDEN["llama"]["llama3"]["config"] | {"max_position_embeddings": 2048}
    read = FAMILIES["llama"].read_config(config | {"rope_parameters": rope})
    assert read.max_positions == positions


# GGUF


@pytest.mark.parametrize("variant", ["40B", "11B", "7B, num_kv_heads to be ignored"])
def test_a_falcon_gguf_file_is_the_folder_it_was_made_of(variant: str, tmp_path: Path) -> None:
    golden = GOLDEN["falcon"][variant]
    fields = golden["config"] | {"layer_norm_epsilon": 2.0**-17}  # GGUF holds it in float32
    tensors = {name: tensor.float() for name, tensor in tensors_of(golden).items()}
    write_folder(tmp_path / "theirs", fields, tensors)
    config = convert(tmp_path / "theirs", tmp_path / "ours").config
    file = write_falcon_gguf(tmp_path / "falcon.gguf", config, tensors)
    assert convert(file, tmp_path / "from-gguf").config == config
    folder, single = (load(tmp_path / name).transformer for name in ("ours", "from-gguf"))
    for name, weight in folder.state_dict().items():
        assert torch.equal(single.state_dict()[name], weight), name


def write_falcon_gguf(path: Path, config: ModelConfig, tensors: Mapping[str, Tensor]) -> Path:
    """As llama.cpp's converter writes it: its names, and the fused rows regrouped its way."""
    H, K, D, C = config.num_heads, config.num_kv_heads, config.head_dim, config.hidden_size
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.FALCON, config.num_layers)
    written = []
    for name, tensor in tensors.items():
        if "query_key_value" in name:
            groups = tensor.view(K, H // K + 2, D, C)
            kinds = groups[:, :-2], groups[:, [-2]], groups[:, [-1]]
            tensor = torch.cat([kind.reshape(-1, C) for kind in kinds])
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert theirs is not None
        written.append(tiny.gguf_tensor(theirs, tensor.numpy()))
    metadata = {
        **{key: item for key, item in tiny.gguf_metadata().items() if "llama." not in key},
        "general.architecture": "falcon",
        "falcon.context_length": config.max_positions,
        "falcon.embedding_length": C,
        "falcon.feed_forward_length": config.intermediate_size,
        "falcon.block_count": config.num_layers,
        "falcon.attention.head_count": H,
        "falcon.attention.head_count_kv": K,
        "falcon.attention.layer_norm_epsilon": config.norm_eps,
        "falcon.rope.freq_base": config.rope_theta,
    }
    return tiny.write_gguf(path, written, metadata)


def test_mpt_in_gguf_is_refused(tmp_path: Path) -> None:
    file = tiny.write_gguf(tmp_path / "x.gguf", [], {"general.architecture": "mpt"})
    with pytest.raises(LoadError, match="in a Hugging Face folder, not in GGUF"):
        convert(file, tmp_path / "ours")


# Positions


def test_alibi_after_a_gap_is_taken_by_position(tmp_path: Path) -> None:
    # One token by itself, far from all others: its bias must not be that of the next slot.
    for family, variant in (("falcon", "ALiBi, multi-query, parallel"), ("mpt", "12 heads")):
        (tmp_path / family).mkdir()
        model = loaded(family, variant, tmp_path / family).transformer
        tokens, positions = [5, 3, 8, 9, 4, 7], [4, 700, 20, 21, 2000, 705]
        whole = our_logits(model, tokens, positions, [(0, 6)])
        order = sorted(range(6), key=positions.__getitem__)
        steps = [(n, n + 1) for n in range(6)]
        alone = our_logits(model, [tokens[n] for n in order], [positions[n] for n in order], steps)
        torch.testing.assert_close(alone, whole[order], rtol=0, atol=1e-10)


def test_falcons_bias_is_divided_as_its_scores_are() -> None:
    config = FAMILIES["falcon"].read_config(
        GOLDEN["falcon"]["RW, 6 heads, output not tied"]["config"]
    )
    positions = torch.tensor([7, 1002, 1000])
    exact = falcon.key_bias(config, positions, torch.float64)
    slopes = alibi.slopes(6)
    expected = slopes[:, None] * (positions - 1002) / config.head_dim**0.5
    torch.testing.assert_close(exact, expected, rtol=1e-14, atol=0)
    options = dataclasses.replace(config.family_config, rounded_alibi=True)
    config = dataclasses.replace(config, family_config=options)
    rounded = falcon.key_bias(config, positions, torch.float64) * config.head_dim**0.5
    # The slope is 1/2, and 1002 became 1000.
    assert rounded[4].tolist() == pytest.approx([3.5, 500.0, 500.0], rel=1e-14)


def test_a_model_with_learned_positions_is_not_moved(tmp_path: Path) -> None:
    model = loaded("mpt", "learned positions, biases", tmp_path).transformer
    cache = model.new_cache()
    model(torch.tensor([1, 2]), torch.tensor([3, 4]), ForwardPlan([Run(cache, 2)], []))
    segment = cache.segment(0, 2)
    assert model.new_cache().bring([Placed(segment, 3)]) == 2
    with pytest.raises(ValueError, match="keys cannot be moved: the model adds learned positions"):
        model.new_cache().bring([Placed(segment, 4)])


def test_a_model_with_learned_positions_is_reused_where_it_stands(tmp_path: Path) -> None:
    cache = PromptCache(loaded("mpt", "learned positions, biases", tmp_path))
    cache.add_schema(
        '<schema name="s">Once<module name="a">upon <param name="p" len="4"/></module>'
        '<union><module name="b">a time</module><module name="c">some day</module></union></schema>'
    )
    for modules in ('<a p="it"/><b/>', "<c/>", '<a p="us"/><c/>'):
        plan = cache.plan(f'<prompt schema="s">{modules} there was</prompt>')
        expected = oracle(cache.model.transformer, plan)
        torch.testing.assert_close(cache.prefill(plan).logits, expected, rtol=0, atol=1e-10)
    assert cache.store.hits > 0


FOLLOWING = ["dynamic, beyond", "longrope, long"]


@pytest.mark.parametrize("variant", FOLLOWING)
def test_frequencies_that_follow_the_length_are_refused_for_reuse(
    variant: str, tmp_path: Path
) -> None:
    model = loaded("llama", variant, tmp_path)
    kind = variant.partition(",")[0]
    with pytest.raises(LoadError) as caught:
        PromptCache(model)
    assert f"its RoPE frequencies ({kind}) follow the text's length" in str(caught.value)
    assert "\n" not in str(caught.value)
    cache = model.transformer.new_cache()
    model.transformer(torch.tensor([1]), torch.tensor([0]), ForwardPlan([Run(cache, 1)], []))
    with pytest.raises(ValueError, match="RoPE's frequencies follow the text's length"):
        model.transformer.new_cache().bring([Placed(cache.segment(0, 1), 9)])


@pytest.mark.parametrize("variant", FOLLOWING)
def test_they_are_prefilled_at_once_and_each_text_by_itself(variant: str, tmp_path: Path) -> None:
    model = loaded("llama", variant, tmp_path).transformer
    tokens, count = [n % 250 for n in range(CHUNK + 60)], CHUNK + 60
    whole = our_logits(model, tokens, range(count), [(0, count)])
    logits = prefill(model, model.new_cache(), tokens, range(count))
    torch.testing.assert_close(logits, whole[-1], rtol=0, atol=1e-12)
    caches = [model.new_cache(), model.new_cache()]
    batch = ForwardPlan([Run(caches[0], 5), Run(caches[1], count)], [4, count + 4])
    positions = torch.tensor([*range(5), *range(count)])
    both = model(torch.tensor([*tokens[:5], *tokens]), positions, batch)
    alone = our_logits(model, tokens[:5], range(5), [(0, 5)])
    torch.testing.assert_close(both[0], alone[-1], rtol=0, atol=1e-12)
    torch.testing.assert_close(both[1], whole[-1], rtol=0, atol=1e-12)


def test_dynamic_frequencies_are_the_plain_ones_up_to_the_trained_length() -> None:
    config = FAMILIES["llama"].read_config(GOLDEN["llama"]["dynamic, beyond"]["config"])
    plain = frequencies(dataclasses.replace(config, rope_scaling=None))
    assert torch.equal(frequencies(config, 24), plain)
    assert (frequencies(config, 48)[1:] < plain[1:]).all()


def test_the_readable_attention_is_the_fast_one_for_every_family(tmp_path: Path) -> None:
    for family, variant in FIRST.items():
        (tmp_path / family).mkdir()
        model = loaded(family, variant, tmp_path / family).transformer
        tokens, positions = torch.arange(1, 9), torch.tensor([0, 1, 2, 50, 51, 3, 4, 90])
        fast, readable = (
            model(tokens, positions, ForwardPlan([Run(model.new_cache(), 8)], range(8), explicit))
            for explicit in (False, True)
        )
        torch.testing.assert_close(fast, readable, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_reduced_precision_is_as_good_far_from_the_last_key(
    kind: str, dtype: torch.dtype, tolerance: float
) -> None:
    # ALiBi's bias, taken from the last key and rounded to bfloat16, would be off by 1 at 500.
    config = ModelShape(2, 2, 2, 8, True, False, kind, 0).config()
    reduced = hot(Transformer(config).to(dtype), 0)
    exact = hot(Transformer(config).double(), 0)
    exact.load_state_dict({name: w.double() for name, w in reduced.state_dict().items()})
    tokens, steps = [7 * n % 250 for n in range(600)], [(0, 600)]
    expected = our_logits(exact, tokens, range(600), steps)
    error = our_logits(reduced, tokens, range(600), steps).double() - expected
    assert error[:100].square().mean().sqrt() <= tolerance * expected.square().mean().sqrt()


def test_a_family_takes_its_own_kinds_of_positions_only(tmp_path: Path) -> None:
    loaded("mpt", "12 heads", tmp_path)
    path = tmp_path / "ours" / "config.json"
    content = json.loads(path.read_text())
    content["model"] |= {"position_scheme": "rope", "rotary_dim": 8}
    path.write_text(json.dumps(content))
    with pytest.raises(LoadError, match=r"position_scheme is 'rope', expected one of \('alibi'"):
        load(tmp_path / "ours")


def test_every_weight_of_a_model_is_in_its_familys_table() -> None:
    for family, variant in CASES:
        module = FAMILIES[family]
        config = module.read_config(GOLDEN[family][variant]["config"])
        with torch.device("meta"):
            model = Transformer(config)
        shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        assert shapes == {name: w.shape for name, w in module.weights(config).items()}
