"""Rotary embedding: frequencies of every kind, turning, moving, precision."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from strategies import ModelShape

from minillm.config import ModelConfig, RopeScaling
from minillm.rope import Rope, apply_rope, frequencies, rope_for

SHAPE = ModelShape(2, 1, 1, 8, True, False, "llama", 0)
CONFIG = replace(SHAPE.config(), rope_theta=10000.0)
CPU = torch.device("cpu")


def scaled(scaling: RopeScaling | None, rotary_dim: int = 8, theta: float = 10000.0) -> ModelConfig:
    head_dim = max(8, rotary_dim)
    return replace(
        CONFIG, head_dim=head_dim, rotary_dim=rotary_dim, rope_theta=theta, rope_scaling=scaling
    )


def test_plain_frequencies_fall_from_one() -> None:
    assert frequencies(CONFIG).tolist() == pytest.approx([1, 0.1, 0.01, 0.001], rel=1e-15)
    assert frequencies(CONFIG).dtype == torch.float64


def test_linear_scaling_divides_all() -> None:
    stretched = frequencies(scaled(RopeScaling("linear", 4.0)))
    assert stretched.tolist() == pytest.approx([0.25, 0.025, 0.0025, 0.00025], rel=1e-15)


def test_llama3_scaling_keeps_short_waves_and_divides_long_ones() -> None:
    """The three bands of Llama 3.1, each by its own formula."""
    scaling = RopeScaling("llama3", 8.0, original_max_positions=1024)
    config = scaled(scaling, rotary_dim=64, theta=500000.0)
    plain = frequencies(replace(config, rope_scaling=None)).tolist()
    bands = set()
    for ours, omega in zip(frequencies(config).tolist(), plain, strict=True):
        wave = 2 * math.pi / omega
        if wave < 1024 / 4:
            expected, band = omega, "short"
        elif wave > 1024 / 1:
            expected, band = omega / 8, "long"
        else:
            smooth = (1024 / wave - 1) / (4 - 1)
            expected, band = (1 - smooth) * omega / 8 + smooth * omega, "between"
        bands.add(band)
        assert ours == pytest.approx(expected, rel=1e-12)
    assert bands == {"short", "between", "long"}


def test_yarn_scaling_interpolates_by_channel() -> None:
    """Peng et al. 2023, section 3.2: a ramp between the channels of 32 turns and of one."""
    scaling = RopeScaling("yarn", 16.0, original_max_positions=4096, attention_factor=1.25)
    config = scaled(scaling, rotary_dim=64)
    plain = frequencies(replace(config, rope_scaling=None))
    share = (frequencies(config) / plain).tolist()

    def turns(channel: int) -> float:
        return 4096 * float(plain[channel]) / (2 * math.pi)

    assert share == sorted(share, reverse=True)
    for channel in range(32):
        if turns(channel) > 40:
            assert share[channel] == 1
        if turns(channel) < 0.9:
            assert share[channel] == pytest.approx(1 / 16)
    assert any(1 / 16 < part < 1 for part in share)
    cos, sin = Rope(config).tables(torch.tensor([0, 5]), torch.float64)
    assert (cos.square() + sin.square()).flatten().tolist() == pytest.approx([1.25**2] * 128)


def test_tables_are_shaped_for_heads_and_exact_far_out() -> None:
    """Angles taken in float32 would be off by 0.004 at position 100,000."""
    positions = torch.tensor([0, 3, 100_003])
    cos, sin = Rope(CONFIG).tables(positions, torch.float32)
    assert cos.shape == sin.shape == (3, 1, 8)
    assert cos.dtype == torch.float32
    for row, position in enumerate(positions.tolist()):
        angles = [position * 10000 ** (-2 * pair / 8) for pair in range(4)]
        cosines, sines = [math.cos(a) for a in angles], [math.sin(a) for a in angles]
        assert cos[row, 0].tolist() == pytest.approx(2 * cosines, abs=1e-6)
        assert sin[row, 0].tolist() == pytest.approx([-s for s in sines] + sines, abs=1e-6)


def test_channel_i_is_paired_with_channel_i_plus_half() -> None:
    x = torch.zeros(1, 1, 8, dtype=torch.float64)
    x[..., 1] = 1
    turned = apply_rope(x, *Rope(CONFIG).tables(torch.tensor([2]), torch.float64)).flatten()
    expected = [0.0] * 8
    expected[1], expected[5] = math.cos(0.2), math.sin(0.2)
    assert turned.tolist() == pytest.approx(expected, abs=1e-15)


def test_partial_rotation_leaves_the_rest_alone() -> None:
    config = scaled(None, rotary_dim=4)
    x = torch.randn(5, 2, 8, dtype=torch.float64)
    tables = Rope(config).tables(torch.arange(5), torch.float64)
    turned = apply_rope(x, *tables)
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert torch.equal(turned[..., :4], apply_rope(x[..., :4], *tables))
    assert not torch.equal(turned[1:, :, :4], x[1:, :, :4])


@pytest.mark.parametrize("rotary_dim", [4, 8])
def test_reduced_precision_is_rounded_once(rotary_dim: int) -> None:
    config = scaled(None, rotary_dim=rotary_dim)
    x = torch.randn(6, 3, 8).bfloat16()
    cos, sin = Rope(config).tables(torch.arange(6) * 11, torch.float32)
    turned = apply_rope(x, cos, sin)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, apply_rope(x.float(), cos, sin).bfloat16())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_moving_turned_keys_is_turning_them_there(dtype: torch.dtype) -> None:
    """Also under yarn, whose scale the stored keys hold already."""
    scaling = RopeScaling("yarn", 4.0, original_max_positions=64, attention_factor=1.3)
    rope = Rope(scaled(scaling))
    keys = torch.randn(7, 2, 8, dtype=torch.float64)
    here = apply_rope(keys, *rope.tables(torch.arange(7), torch.float64))
    there = apply_rope(keys, *rope.tables(torch.arange(7) - 40, torch.float64))
    moved = rope.turn(here.to(dtype), -40)
    assert moved.dtype == dtype
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    assert torch.allclose(moved.double(), there, rtol=0, atol=tolerance)


def test_one_rope_for_a_configuration() -> None:
    assert rope_for(CONFIG, CPU) is rope_for(replace(CONFIG), CPU)
    assert rope_for(CONFIG, CPU) is not rope_for(scaled(RopeScaling("linear", 2.0)), CPU)
