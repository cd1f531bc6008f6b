"""Codecs: what comes back, how far off, how large, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from strategies import ModelShape
from torch import Tensor

from minillm.config import ModelConfig
from minillm.kv import KVSegment
from minillm.rope import rope_for
from pml.store.codec import CodecName, Grid, codec_for
from pml.store.protocols import Packed

LOSSY: tuple[CodecName, ...] = ("bfloat16", "int8", "int4")


def config(kind: str = "llama", head_dim: int = 8, rotary_dim: int = 8) -> ModelConfig:
    shape = ModelShape(2, 3, 1, head_dim, True, False, kind, 0)
    return replace(shape.config(), rotary_dim=rotary_dim)


def segment(
    model: ModelConfig, count: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> KVSegment:
    """States with what real ones have: channels far from 0, and a token that is out of scale."""
    random = torch.Generator().manual_seed(seed)
    shape = (model.num_layers, 2, model.num_kv_heads, count, model.head_dim)
    block = torch.randn(shape, generator=random)
    block[:, 0] += 5 * torch.randn(shape[-1], generator=random)
    block[:, 1, :, 0] *= 0.01
    offsets = torch.arange(count) + (torch.arange(count) >= count // 2) * 7
    return KVSegment(block.to(dtype), offsets, 40)


MODELS = st.builds(
    config,
    st.sampled_from(["llama", "falcon, ALiBi"]),
    st.sampled_from([6, 8]),
    st.sampled_from([4, 6]),
)


def unrotated(model: ModelConfig, keys: Tensor, positions: list[int]) -> Tensor:
    """(K, n, D) of one layer, each pair of channels turned back by its angle, one by one."""
    found = keys.clone().double()
    if model.position_scheme != "rope":
        return found
    omega, half = rope_for(model, torch.device("cpu")).omega.tolist(), model.rotary_dim // 2
    for head in range(keys.shape[0]):
        for token, position in enumerate(positions):
            for i in range(half):
                x, y = float(keys[head, token, i]), float(keys[head, token, i + half])
                cos, sin = math.cos(position * omega[i]), math.sin(position * omega[i])
                found[head, token, i] = x * cos + y * sin
                found[head, token, i + half] = y * cos - x * sin
    return found


def worst(numbers: Tensor, top: int, *, is_centred: bool = False) -> float:
    """Half of the grid's step for these numbers: its ends are rounded outwards to bfloat16, 8 bits,
    by two units at most."""
    low, high = float(numbers.min()), float(numbers.max())
    if is_centred:
        return max(abs(low), abs(high)) * (1 + 2**-6) / top
    return (high - low + abs(low) * 2**-6) * (1 + 2**-6) / top / 2


def allowed(model: ModelConfig, name: CodecName, kept: KVSegment) -> Tensor:
    """How far each number may be off by the definition: the readable reference, in loops. For keys
    a pair of channels is turned together, so that both may be off by both."""
    top, group = (255, kept.num_tokens) if name == "int8" else (15, 32)
    bounds = torch.zeros(kept.block.shape, dtype=torch.double)
    positions = (kept.offsets + kept.origin).tolist()
    width = model.num_kv_heads * model.head_dim
    for layer in range(model.num_layers):
        keys = unrotated(model, kept.block[layer, 0], positions)
        for start in range(0, kept.num_tokens, group):
            for head in range(model.num_kv_heads):
                for channel in range(model.head_dim):
                    numbers = keys[head, start : start + group, channel]
                    bound = bounds[layer, 0, head, start : start + group]
                    bound[:, channel] += worst(numbers, top)
        if model.position_scheme == "rope":
            half = model.rotary_dim // 2
            both = bounds[layer, 0, :, :, :half] + bounds[layer, 0, :, :, half : 2 * half]
            bounds[layer, 0, :, :, : 2 * half] = both.repeat(1, 1, 2)
        for token in range(kept.num_tokens):
            values = kept.block[layer, 1, :, token].reshape(-1).double()
            found = torch.zeros(width, dtype=torch.double)
            for start in range(0, width, 32 if name == "int4" else width):
                part = slice(start, start + 32 if name == "int4" else width)
                found[part] = worst(
                    values[part], 127 * 2 if name == "int8" else 15, is_centred=name == "int8"
                )
            bounds[layer, 1, :, token] = found.view(model.num_kv_heads, model.head_dim)
    return bounds


@settings(max_examples=60)
@given(
    model=MODELS,
    name=st.sampled_from(["int8", "int4"]),
    count=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_no_number_is_off_by_more_than_half_a_step_of_its_group(
    model: ModelConfig, name: CodecName, count: int, seed: int
) -> None:
    """What would be wrong otherwise: a group along the wrong axis, keys that were not turned back
    or by the wrong positions, a number outside the grid, groups that are shifted by one."""
    codec, kept = codec_for(name, model), segment(model, count, seed)
    found = codec.unpack(codec.pack(kept))
    off = (found.block - kept.block).abs().double()
    assert bool((off <= allowed(model, name, kept) + 1e-4).all())
    assert found.offsets.equal(kept.offsets) and found.origin == kept.origin
    assert found.block.dtype == kept.block.dtype and found.block.is_contiguous()


def reference(
    numbers: list[float], bits: int, *, is_centred: bool
) -> tuple[list[int], float, float]:
    """A group on its grid, number by number: the definition."""

    def single(x: float) -> float:
        return float(torch.tensor(x))

    def up(x: float) -> float:
        return float(torch.tensor(single(x) + abs(single(x)) * 2**-8, dtype=torch.bfloat16))

    if is_centred:
        steps = 2**bits - 2
        scale = max(up(single(max(map(abs, numbers)) * 2) / steps), 2.0**-120)
        lowest = -(steps // 2) * scale
    else:
        steps = 2**bits - 1
        lowest = -up(-min(numbers))
        scale = max(up(single(max(numbers) - lowest) / steps), 2.0**-120)
    whole = [round(single(single(x - lowest) / scale)) for x in numbers]
    return [min(max(number, 0), steps) for number in whole], scale, lowest


@given(
    bits=st.sampled_from([4, 8]),
    is_centred=st.booleans(),
    numbers=st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=40),
)
def test_a_group_is_put_on_its_grid_as_defined(
    bits: int, is_centred: bool, numbers: list[float]
) -> None:
    grid = Grid(bits, -1, is_centred=is_centred)
    whole, scale, lowest = grid.quantise(torch.tensor(numbers))
    expected = reference(numbers, bits, is_centred=is_centred)
    assert (whole.tolist(), float(scale), float(lowest)) == expected
    restored = grid.restore(whole, scale, lowest)
    assert restored.tolist() == pytest.approx(numbers, abs=float(scale) * 0.501)


@pytest.mark.parametrize("dim", [-1, -2])
def test_groups_are_cut_along_the_dimension_and_the_last_may_be_short(dim: int) -> None:
    x = torch.randn(3, 70, 70, generator=torch.Generator().manual_seed(0))
    grid = Grid(4, -1 if dim == -1 else -2, group=32)
    whole, scale, lowest = grid.quantise(x)
    for index, (start, stop) in enumerate(((0, 32), (32, 64), (64, 70))):
        part = x.movedim(dim, -1)[..., start:stop]
        alone, its_scale, its_lowest = Grid(4, -1).quantise(part)
        assert whole.movedim(dim, -1)[..., start:stop].equal(alone)
        assert scale.movedim(dim, -1)[..., index].equal(its_scale[..., 0])
        assert lowest.movedim(dim, -1)[..., index].equal(its_lowest[..., 0])


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int4"])
def test_packed_bytes_are_those_of_the_arithmetic(name: CodecName) -> None:
    """For the shape of SmolLM2-135M: L = 30, K = 3, D = 64, 200 tokens."""
    layers, heads, n, width = 30, 3, 200, 64
    model = replace(
        config(), num_layers=layers, num_kv_heads=heads, head_dim=width, rotary_dim=width
    )
    packed = codec_for(name, model).pack(segment(model, n))
    numbers = layers * 2 * heads * n * width
    expected = {
        "bfloat16": 2 * numbers + 8 * n,
        # a byte each; scale and lowest for a channel, scale for a token, its offset
        "int8": numbers + layers * (4 * heads * width + 2 * n) + 4 * n,
        # half a byte each; scale and lowest for 32 tokens and for 32 values
        "int4": numbers // 2 + layers * (4 * heads * width * 7 + 4 * n * 6) + 4 * n,
    }
    found = sum(tensor.nbytes for tensor in packed.tensors.values())
    assert found == expected[name]
    assert name != "int8" or found / (2 * numbers) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("name", LOSSY)
def test_what_was_restored_depends_on_the_packed_form_alone(name: CodecName) -> None:
    """Bit for bit, however often: a state is the same in memory and after a restart."""
    codec, kept = codec_for(name, config()), segment(config(), 50)
    packed = codec.pack(kept)
    assert codec.unpack(packed).block.equal(codec.unpack(packed).block)
    assert all(
        again.equal(packed.tensors[part]) for part, again in codec.pack(kept).tensors.items()
    )


def test_bfloat16_states_are_kept_exactly_by_bfloat16() -> None:
    kept = segment(config(), 20, dtype=torch.bfloat16)
    codec = codec_for("bfloat16", config())
    assert codec.unpack(codec.pack(kept)).block.equal(kept.block)


def test_where_a_segment_stands_does_not_change_its_numbers() -> None:
    """Keys are turned back by their positions: the same text encoded elsewhere looks alike. Without
    it a channel's numbers run through all angles, and its scale is as wide as the pair is long."""
    model = config()
    here = segment(model, 60)
    keys = rope_for(model, torch.device("cpu")).turn(here.block[:, 0], 1000)
    there = KVSegment(torch.stack((keys, here.block[:, 1]), 1), here.offsets, here.origin + 1000)
    codec = codec_for("int8", model)
    one, other = codec.pack(here).tensors, codec.pack(there).tensors
    assert int((one["keys"].int() - other["keys"].int()).abs().max()) <= 1
    assert one["keys scale"].float().allclose(other["keys scale"].float(), rtol=0.01)
    assert one["values"].equal(other["values"])


def test_equal_numbers_have_no_scale_to_divide_by() -> None:
    model = config("falcon, ALiBi")
    kept = KVSegment(torch.full((2, 2, 3, 5, 8), 3.0), torch.arange(5), 0)
    for name in ("int8", "int4"):
        codec = codec_for(name, model)  # type: ignore[arg-type]
        assert codec.unpack(codec.pack(kept)).block.allclose(kept.block, rtol=2**-7)
    nothing = KVSegment(torch.zeros(2, 2, 3, 5, 8), torch.arange(5), 0)
    codec = codec_for("int8", model)
    assert codec.unpack(codec.pack(nothing)).block.equal(nothing.block)


def damaged(packed: Packed) -> list[Packed]:
    tensors, metadata = dict(packed.tensors), dict(packed.metadata)
    found = [Packed(tensors | {part: tensors[part][..., :-1]}, metadata) for part in tensors]
    found += [Packed(tensors | {part: tensors[part].double()}, metadata) for part in tensors]
    found += [
        Packed({one: tensor for one, tensor in tensors.items() if one != part}, metadata)
        for part in tensors
    ]
    return [*found, Packed(tensors, metadata | {"dtype": "complex64"})]


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_what_no_codec_made_is_refused(name: CodecName) -> None:
    codec = codec_for(name, config())
    packed = codec.pack(segment(config(), 40))
    for wrong in damaged(packed):
        with pytest.raises((ValueError, KeyError)):
            codec.unpack(wrong)
