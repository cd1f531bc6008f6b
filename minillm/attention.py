"""Attention of new queries over a cache's keys, twice behind one signature.

`attend_explicit` is for reading: one formula, the weights returned. `attend` is for running: the
same numbers from blocked matrix products. A law holds them equal (`tests/laws`).

Letters: n queries, S keys, H query heads, K key/value heads, G = H/K, D head_dim. Query head h
reads key/value head h // G.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minillm.sight import Block, Sight
from minillm.visibility import Visibility


def attend_explicit(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visibility: Visibility,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """softmax(scale·q·kᵀ + bias, over the visible keys)·v, and the softmax's weights.

    q (n, H, D), k and v (K, S, D), `bias` (H, S) or None, `scale` 1/√D where it is None; returns
    (n, H, D) and (H, n, S). The softmax is taken in the wider dtype of q and `bias`.
    """
    n, (K, S, D) = len(q), k.shape
    scores = torch.einsum("nkgd,ksd->kgns", q.reshape(n, K, -1, D), k).reshape(-1, n, S)
    scores = scores * (D**-0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias[:, None, :]
    scores = scores.masked_fill(~visibility.full(), -math.inf)
    weights = scores.softmax(dim=-1).to(v.dtype)
    out = torch.einsum("kgns,ksd->nkgd", weights.view(K, -1, n, S), v)
    return out.flatten(1, 2), weights


def attend(q: Tensor, layer: int, sight: Sight, scale: float | None = None) -> Tensor:
    """The output of `attend_explicit` for the queries of all runs, (T, H, D).

    q (T + X, H, D) are those queries, and behind them the X that `sight.turned` asks for.

    The G query heads of a key/value head are folded into the rows of one matrix product, whose
    scores lie in one buffer that all blocks and layers reuse; or they go to the flash kernel.
    `sight` decides by shape and dtype (`docs/performance.md` has the measurements).
    """
    H, D = q.shape[1:]
    T, K, G = sight.num_tokens, sight.kv_heads, sight.group
    scale = D**-0.5 if scale is None else scale
    q = (q * scale).view(-1, K, G, D).transpose(0, 1).flatten(1, 2)  # (K, (T + X)·G, D)
    out = q.new_empty(K, T * G, D)
    for flash in sight.flash:
        flash.attend(q, layer, out)
    for block in sight.blocks:
        for heads in block.heads:
            _weigh(q, layer, block, heads)
            for part in block.sums:
                weights, rows = part.scores.to(q.dtype), out[heads, part.rows]
                _multiply(weights, part.states[layer][heads], rows, adds=part.adds)
    return out.view(K, T, G, D).transpose(0, 1).reshape(T, H, D)


def _weigh(q: Tensor, layer: int, block: Block, heads: int | slice) -> None:
    """Leave the softmax's weights of a block in its scratch memory."""
    if block.padding is not None:
        block.padding.fill_(-math.inf)
    for part in block.products:
        keys = part.states[layer][heads].transpose(-1, -2)
        if part.scores.dtype == q.dtype:
            _multiply(q[heads, part.rows], keys, part.scores)
        else:
            part.scores.copy_(q[heads, part.rows] @ keys)
    for scores, bias in block.biases:
        scores += bias[heads]
    if block.hidden is not None:
        scores, hidden = block.hidden
        scores += hidden
    torch.softmax(block.scores, dim=-1, out=block.scores)


def _multiply(a: Tensor, b: Tensor, out: Tensor, adds: bool = False) -> None:
    """a·b into `out`, or added to it; one head (2-D) or all (3-D)."""
    multiply = torch.addmm if a.dim() == 2 else torch.baddbmm
    multiply(out, a, b, beta=int(adds), out=out)
