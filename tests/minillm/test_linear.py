"""Linear layers on a CPU: packed ones give what plain ones give, integers what they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from torch.nn import functional as F

from minillm.checkpoint import LoadedModel, load
from minillm.convert import convert
from minillm.errors import LoadError
from minillm.generate import prefill
from minillm.linear import FEW, GROUP, Int4Linear, Int8Linear, PackedLinear, can_pack

pytestmark = pytest.mark.skipif(
    not can_pack(torch.float32, "cpu"), reason="this torch has no oneDNN"
)
ROWS = (0, 1, 7, FEW, FEW + 1, 300)
BFLOAT16 = 2.0**-8


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    assert found.shape == exact.shape
    return float((found - exact).norm() / exact.norm()) if exact.numel() else 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("has_bias", [False, True])
def test_packed_is_plain(rows: int, has_bias: bool, dtype: torch.dtype) -> None:
    if not can_pack(dtype, "cpu"):
        pytest.skip("this processor has no instructions for bfloat16")
    weight, x = numbers(96, 160, dtype=dtype), numbers(rows, 160, dtype=dtype)
    bias = numbers(96, dtype=dtype) if has_bias else None
    with torch.inference_mode():
        found = PackedLinear(weight, bias)(x)
    assert found.dtype == dtype
    exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert error(found.double(), exact) < (1e-6 if dtype == torch.float32 else BFLOAT16)


@pytest.mark.parametrize("rows", ROWS)
def test_int8_is_the_product_with_what_its_integers_stand_for(rows: int) -> None:
    weight, bias, x = numbers(96, 160), numbers(96), numbers(rows, 160)
    layer = Int8Linear(weight, bias)
    wide = layer.weight(torch.float32)
    steps = (wide - weight).abs() / layer.scale.float()[:, None]
    assert float(steps.max()) <= 1  # half a step, and the scale's own rounding
    with torch.inference_mode():
        assert error(layer(x), F.linear(x, wide, bias)) < BFLOAT16


@pytest.mark.parametrize("rows", ROWS)
def test_int4_is_the_weights_to_a_fifteenth_of_their_range(rows: int) -> None:
    weight, bias, x = numbers(96, 160), numbers(96), numbers(rows, 160)
    # Rounded by hand, group by group.
    groups = weight.view(96, -1, GROUP)
    low, high = groups.aminmax(dim=-1, keepdim=True)
    wide = (low + ((groups - low) / (high - low) * 15).round() * (high - low) / 15).view(96, 160)
    with torch.inference_mode():
        assert error(Int4Linear(weight, bias)(x), F.linear(x, wide, bias)) < 4 * BFLOAT16


def test_int4_refuses_rows_that_are_no_groups() -> None:
    with pytest.raises(ValueError, match="rows of a multiple of 32 weights, not of 48"):
        Int4Linear(numbers(64, 48), None)


def last_logits(model: LoadedModel) -> torch.Tensor:
    return prefill(model.transformer, model.transformer.new_cache(9), range(5, 14), range(9))


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    tied = request.param
    config = tiny.HF_CONFIG | {"tie_word_embeddings": tied}
    source = tiny.write_folder(tmp_path / "source", tiny.weights(tied=tied), config=config)
    return convert(source, tmp_path / "tiny").folder


def test_a_packed_model_is_the_plain_model(folder: Path) -> None:
    plain, packed = load(folder, weights="plain"), load(folder)
    kinds = [type(part) for part in packed.transformer.modules()]
    assert torch.nn.Linear not in kinds
    per_layer = 4 * plain.config.num_layers
    assert kinds.count(PackedLinear) == per_layer + 1
    assert packed.fingerprint == plain.fingerprint
    assert error(last_logits(packed), last_logits(plain)) < 1e-5


def test_what_cannot_be_packed_stays_plain(folder: Path) -> None:
    model = load(folder, dtype=torch.float64)
    assert not any(isinstance(part, PackedLinear) for part in model.transformer.modules())


def test_a_model_of_integers_is_another_model(folder: Path) -> None:
    plain, int8 = load(folder), load(folder, weights="int8")
    assert plain.fingerprint != int8.fingerprint != load(folder).fingerprint
    assert 0 < error(last_logits(int8), last_logits(plain)) < 0.05


def test_integers_are_for_a_cpu(folder: Path) -> None:
    with pytest.raises(LoadError, match="int8 weights are for a CPU, this is cuda"):
        load(folder, weights="int8", device="cuda")


def test_weights_of_no_known_kind_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="plain, packed, int8, int4, not 'int3'"):
        load(folder, weights="int3")  # type: ignore[arg-type]
