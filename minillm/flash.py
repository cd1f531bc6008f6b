"""Attention by PyTorch's flash kernel, which never writes scores to memory.

The keys are taken part by part: those that all queries see need no mask, and those that lie as
stored meet queries of their own. Beside each part's output o_p the kernel gives the logarithm l_p
of its softmax's sum, by which the parts are merged exactly (Milakov & Gimelshein 2018, arXiv
1805.02867): o = Σ exp(l_p - l)·o_p with l = log Σ exp(l_p).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING = -1e30
"""The logarithm of a sum over no keys: as good as -inf, of which two would merge to NaN."""


@dataclass(frozen=True)
class FlashPart:
    """`rows` of all queries over some `keys` and `values` (K, s, D), layer by layer.

    `mask` is added to the scores (1, K or 1, rows or 1, s); `blind` are the rows (rows,) that see
    none of these keys.
    """

    rows: slice
    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    mask: Tensor | None
    blind: Tensor | None


@dataclass(frozen=True)
class FlashBlock:
    """The parts that the queries `rows` see; every row sees a key of one of them."""

    rows: slice
    parts: Sequence[FlashPart]

    def attend(self, q: Tensor, layer: int, out: Tensor) -> None:
        """Write these queries' rows of `out` (K, rows, D); `q` (K, rows, D) is scaled."""
        merged, total = self._attend_part(q, layer, self.parts[0])
        for part in self.parts[1:]:
            output, log_sum = self._attend_part(q, layer, part)
            total, before = torch.logaddexp(total, log_sum), total
            merged = merged * (before - total).exp() + output * (log_sum - total).exp()
        out[:, self.rows] = merged

    def _attend_part(self, q: Tensor, layer: int, part: FlashPart) -> tuple[Tensor, Tensor]:
        """The output (K, rows, D), and the logarithm of the softmax's sum (K, rows, 1)."""
        output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q[None, :, part.rows],
            part.keys[layer][None],
            part.values[layer][None],
            attn_mask=part.mask,
            scale=1.0,
        )
        if part.blind is not None:
            log_sum = log_sum.masked_fill(part.blind, NOTHING)
        return output[0], log_sum[0, ..., None]
