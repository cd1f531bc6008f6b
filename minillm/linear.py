"""Linear layers, y = x·Wᵀ + b, whose weights lie as a processor reads them best.

plain     `nn.Linear`: for a GPU, for training, for looking at the weights
packed    the same numbers from weights in oneDNN's blocked order
int8      weights as integers, with a scale for each output row
int4      weights as integers, with a scale and a middle for each `GROUP` weights of a row

What is here is for inference on a CPU. `docs/performance.md` has what each of them gives and costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Weights = Literal["plain", "packed", "int8", "int4"]

INTEGERS: tuple[Weights, ...] = ("int8", "int4")
"""What is rounded: other weights, and another model."""

GROUP = 32
"""Weights of a row that share a scale in int4: so many as in the GGUF formats Q4_0 and Q4_1."""

ROWS = 4096
"""Rows of a matrix made integers at a time, so that loading holds no second copy of it."""

FEW = 32
"""Rows up to which the integer kernel is faster than a product with weights made wide again."""


def can_pack(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Whether oneDNN multiplies in `dtype` here; bfloat16 takes instructions of its own."""
    if torch.device(device).type != "cpu" or not torch._C._has_mkldnn:
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


class PackedLinear(nn.Module):
    """As `nn.Linear(weight, bias)`. Other layouts of a sum round otherwise, by some 1e-7."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight)

    def forward(self, x: Tensor) -> Tensor:
        product = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return cast(Tensor, product)


class Int8Linear(nn.Module):
    """Each row of the weights is a scale times integers from -127 to 127.

    The kernel for few rows of `x` takes them in bfloat16. Many rows meet the weights made wide
    again, which costs less than the integers save.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = bias
        self.scale = (weight.abs().amax(dim=1).float() / 127).clamp(min=1e-12).bfloat16()
        self.numbers = torch.empty(weight.shape, dtype=torch.int8)
        for start in range(0, len(weight), ROWS):
            rows = slice(start, start + ROWS)
            wide = weight[rows].float() / self.scale[rows].float()[:, None]
            self.numbers[rows] = wide.round().clamp(-127, 127)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > FEW:
            return F.linear(x, self.weight(x.dtype), self.bias)
        product = torch._weight_int8pack_mm(x.bfloat16(), self.numbers, self.scale).to(x.dtype)
        return product if self.bias is None else product + self.bias

    def weight(self, dtype: torch.dtype) -> Tensor:
        """The weights (out, in) that the integers stand for."""
        return self.numbers.to(dtype) * self.scale.to(dtype)[:, None]


class Int4Linear(nn.Module):
    """Each `GROUP` weights of a row are a middle, plus a scale times integers from -8 to 7.

    The kernel takes `x` in bfloat16.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = bias
        rows, width = weight.shape
        if width % GROUP:
            raise ValueError(f"int4 takes rows of a multiple of {GROUP} weights, not of {width}")
        groups = weight.float().view(rows, -1, GROUP)
        low, high = groups.aminmax(dim=-1)
        scale = ((high - low) / 15).clamp(min=1e-12)
        numbers = ((groups - low[..., None]) / scale[..., None]).round().to(torch.int32)
        self.numbers = torch._convert_weight_to_int4pack_for_cpu(numbers.flatten(1), 1)
        self.scales = torch.stack((scale, low + 8 * scale), dim=-1).transpose(0, 1).bfloat16()
        self.scales = self.scales.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        kernel = torch.ops.aten._weight_int4pack_mm_for_cpu
        product: Tensor = kernel(x.bfloat16(), self.numbers, GROUP, self.scales).to(x.dtype)
        return product if self.bias is None else product + self.bias


FastLinear = PackedLinear | Int8Linear | Int4Linear

KINDS: Mapping[Weights, type[FastLinear]] = {
    "packed": PackedLinear,
    "int8": Int8Linear,
    "int4": Int4Linear,
}
