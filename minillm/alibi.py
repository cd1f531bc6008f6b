"""Attention with linear biases (Press et al. 2021, arXiv 2108.12409): a bias by distance.

score(q, k) gains slope · (p_k - p_q). The query's share is the same for all keys of a row and
drops out of the softmax, so the bias is one row by key position. Keys hold no position at all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def slopes(num_heads: int, max_bias: float = 8.0) -> Tensor:
    """float64 (H,): 2^(-max_bias·i/n), i = 1..n; n the next power of two, even i first if H < n.

    >>> slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    n = 2 ** math.ceil(math.log2(num_heads))
    exponents = torch.arange(1, n + 1, dtype=torch.float64) * (-max_bias / n)
    values = torch.exp2(exponents)
    if n != num_heads:
        values = torch.cat((values[1::2], values[0::2]))
    return values[:num_heads]


def bias(slopes: Tensor, key_positions: Tensor, dtype: torch.dtype) -> Tensor:
    """What the keys at `key_positions` (S,) add to the scores: (H, S).

    Taken from the largest position, so that it stays small where it matters.
    """
    distance = key_positions - key_positions.max()
    return (slopes[:, None] * distance.to(slopes.dtype)[None, :]).to(dtype)
