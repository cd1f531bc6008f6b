"""Stored states made smaller: codecs that lose a little.

    bfloat16   rounded
    int8       scale and lowest number for each channel of the keys; a scale for each token's values
    int4       scale and lowest number for 32 tokens of a channel, and for 32 values of a token

A channel of a key says much the same from token to token, until RoPE turns it by its position: so
keys are turned back first, and what a channel needs is the same all along. Values have no such
channels; but tokens that draw attention without saying much have far smaller ones than others.
Liu et al. 2024 (KIVI, arXiv 2402.02750) and Hooper et al. 2024 (KVQuant, arXiv 2401.18079) found
both; `docs/compression.md` has what each codec costs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from minillm.config import ModelConfig
from minillm.kv import KVSegment
from minillm.rope import apply_rope, rope_for, tables_of
from pml.store.form import Native
from pml.store.protocols import Codec, Packed

_Parts = tuple[Tensor, Tensor, Tensor]

CodecName = Literal["native", "bfloat16", "int8", "int4"]

LEAST = 2.0**-120
"""The least scale, so that a group of equal numbers can be divided by it."""

DTYPES = {str(t).removeprefix("torch."): t for t in (torch.float32, torch.bfloat16, torch.float64)}


def codec_for(name: CodecName, config: ModelConfig) -> Codec:
    """A codec by its name, for the states of a model."""
    if name == "native":
        return Native()
    if name == "bfloat16":
        return Rounded()
    if name == "int8":
        return Quantised(name, config, keys=Grid(8, -2), values=Grid(8, -1, is_centred=True))
    return Quantised(name, config, keys=Grid(4, -2, group=32), values=Grid(4, -1, group=32))


class Rounded:
    """bfloat16: half the bytes of float32."""

    name = "bfloat16"
    is_exact = False

    def pack(self, segment: KVSegment) -> Packed:
        tensors = {"block": segment.block.to(torch.bfloat16), "offsets": segment.offsets}
        return Packed(tensors, _metadata(segment))

    def unpack(self, packed: Packed) -> KVSegment:
        found = Native().unpack(packed)
        return KVSegment(found.block.to(_dtype(packed)), found.offsets, found.origin)


@dataclass(frozen=True)
class Grid:
    """Numbers of `bits` each: `lowest + scale · number`. A `group` of them (None: all) along the
    dimension `dim` has one scale and one lowest; a centred grid has as much below 0 as above.

    Both are bfloat16, which has float32's range, and rounded outwards: all of a group is inside the
    grid, so nothing is off by more than half a scale.
    """

    bits: int
    dim: Literal[-1, -2]
    group: int | None = None
    is_centred: bool = False

    @property
    def top(self) -> int:
        return (1 << self.bits) - (2 if self.is_centred else 1)

    def quantise(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of the shape of `x` (float32); scales and lowest, one of each group."""
        dim, count = self.dim, x.shape[self.dim]
        size = self.group or count
        last = x.narrow(dim, count - 1, 1).repeat_interleave(-count % size, dim)
        groups = torch.unflatten(torch.cat((x, last), dim), dim, (-1, size))
        lowest, highest = groups.aminmax(dim=dim, keepdim=True)
        if self.is_centred:
            scale = _up(torch.maximum(-lowest, highest) * 2 / self.top).clamp_min(LEAST)
            lowest = self._lowest(scale)
        else:
            lowest = -_up(-lowest)
            scale = _up((highest - lowest) / self.top).clamp_min(LEAST)
        numbers = ((groups - lowest) / scale).round_().clamp_(0, self.top).to(torch.uint8)
        numbers = numbers.flatten(dim - 1, dim).narrow(dim, 0, count)
        return numbers, scale.squeeze(dim), lowest.squeeze(dim)

    def restore(self, numbers: Tensor, scale: Tensor, lowest: Tensor) -> Tensor:
        """What `quantise` was given, about."""
        if self.group:
            count = numbers.shape[self.dim]
            scale, lowest = (
                each.repeat_interleave(self.group, self.dim).narrow(self.dim, 0, count)
                for each in (scale, lowest)
            )
        return torch.addcmul(lowest, numbers.float(), scale)

    def pack(self, name: str, x: Tensor) -> dict[str, Tensor]:
        numbers, scale, lowest = self.quantise(x)
        if self.bits == 4:
            numbers = pad(numbers, (0, numbers.shape[-1] % 2))
            numbers = numbers[..., 0::2] | numbers[..., 1::2] << 4
        packed = {name: numbers, f"{name} scale": scale.to(torch.bfloat16)}
        return packed if self.is_centred else packed | {f"{name} lowest": lowest.to(torch.bfloat16)}

    def unpack(self, name: str, tensors: Mapping[str, Tensor], shape: Sequence[int]) -> _Parts:
        """What `quantise` gave for an x of this shape. Raises `ValueError` for anything else."""
        width, scales = -(-shape[-1] * self.bits // 8), [*shape]
        scales[self.dim] = -(-shape[self.dim] // self.group) if self.group else 1
        numbers = _checked(tensors, name, torch.uint8, [*shape[:-1], width])
        scale = _checked(tensors, f"{name} scale", torch.bfloat16, scales).float()
        if self.bits == 4:
            numbers = torch.stack((numbers & 15, numbers >> 4), -1).flatten(-2)[..., : shape[-1]]
        if self.is_centred:
            return numbers, scale, self._lowest(scale)
        return numbers, scale, _checked(tensors, f"{name} lowest", torch.bfloat16, scales).float()

    def _lowest(self, scale: Tensor) -> Tensor:
        return scale * -(self.top // 2)


class Quantised:
    """int8 and int4: keys (L, K, n, D), turned back to position 0, and values (L, n, K·D)."""

    is_exact = False

    def __init__(self, name: str, config: ModelConfig, *, keys: Grid, values: Grid) -> None:
        self.name = name
        self._config, self._keys, self._values = config, keys, values

    def pack(self, segment: KVSegment) -> Packed:
        keys, values = segment.block.float().unbind(1)
        turning = self._turning(segment.offsets + segment.origin, -1)
        tensors = {"offsets": segment.offsets.to(torch.int32)}
        tensors |= self._keys.pack("keys", apply_rope(keys, *turning) if turning else keys)
        tensors |= self._values.pack("values", values.transpose(1, 2).flatten(2))
        return Packed(tensors, _metadata(segment))

    def unpack(self, packed: Packed) -> KVSegment:
        """Layer by layer: what is computed in between fits the processor's cache."""
        c, tensors, origin = self._config, packed.tensors, int(packed.metadata["origin"])
        count = len(tensors["offsets"])
        offsets = _checked(tensors, "offsets", torch.int32, [count]).long()
        shape = (c.num_layers, c.num_kv_heads, count, c.head_dim)
        all_keys = self._keys.unpack("keys", tensors, shape)
        all_values = self._values.unpack(
            "values", tensors, (c.num_layers, count, shape[1] * shape[3])
        )
        turning = self._turning(offsets + origin, 1)
        block = torch.empty((shape[0], 2, *shape[1:]), dtype=_dtype(packed), device=offsets.device)
        for layer in range(c.num_layers):
            keys = self._keys.restore(*(part[layer] for part in all_keys))
            block[layer, 0] = apply_rope(keys, *turning) if turning else keys
            values = self._values.restore(*(part[layer] for part in all_values))
            block[layer, 1] = values.view(count, shape[1], shape[3]).transpose(0, 1)
        return KVSegment(block, offsets, origin)

    def _turning(self, positions: Tensor, times: int) -> tuple[Tensor, Tensor] | None:
        """Tables that turn keys by their position, or back. RoPE's scale stays in the keys."""
        if self._config.position_scheme != "rope":
            return None
        rope = rope_for(self._config, positions.device)
        rope.check_movable()
        return tables_of(times * positions[:, None] * rope.omega, torch.float32)


def _up(x: Tensor) -> Tensor:
    """A bfloat16 that is larger than `x`, the next one or that after it; 0 stays 0."""
    return (x + x.abs() * 2**-8).to(torch.bfloat16).float()


def _metadata(segment: KVSegment) -> dict[str, str]:
    dtype = str(segment.block.dtype).removeprefix("torch.")
    return {"origin": str(segment.origin), "dtype": dtype}


def _dtype(packed: Packed) -> torch.dtype:
    name = packed.metadata["dtype"]
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r}; expected one of {', '.join(DTYPES)}")
    return DTYPES[name]


def _checked(
    tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, shape: Sequence[int]
) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != dtype or [*tensor.shape] != [*shape]:
        found = "nothing" if tensor is None else f"{tensor.dtype} {[*tensor.shape]}"
        raise ValueError(f"{name}: found {found}; expected {dtype} {[*shape]}")
    return tensor
