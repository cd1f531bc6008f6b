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

from minillm.visibility import Visibility

ROWS = 256
"""Score rows computed at a time, so that a block of scores stays in the processor's cache."""


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
    _, H, D = q.shape
    scale = D**-0.5 if scale is None else scale
    group = H // k.shape[0]
    k, v = k.repeat_interleave(group, dim=0), v.repeat_interleave(group, dim=0)  # (H, S, D)
    scores = q.transpose(0, 1) @ k.transpose(1, 2) * scale  # (H, n, S)
    if bias is not None:
        scores = scores + bias[:, None, :]
    scores = scores.masked_fill(~visibility.full(), -math.inf)
    weights = scores.softmax(dim=-1).to(v.dtype)
    return (weights @ v).transpose(0, 1), weights


class Sight:
    """What `attend` needs to know of a visibility, worked out once and used by all layers.

    The queries are cut into blocks of about `ROWS` score rows. A block looks at the keys up to
    the last one that any of its queries sees, and masks only the columns that some of them do
    not see: for ordinary text after a cached prefix that is a small triangle. `dtype` is that of
    the scores: a bias over many positions needs a wider one than bfloat16.
    """

    def __init__(self, visibility: Visibility, group: int, dtype: torch.dtype) -> None:
        mask, free = visibility.mask, visibility.num_free
        n = mask.shape[0]
        step = max(1, ROWS // group)
        hidden = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
        hidden.masked_fill_(~mask, -math.inf)
        self.blocks: list[tuple[int, int, int, Tensor]] = []
        for start in range(0, n, step):
            stop = min(start + step, n)
            seen = mask[start:stop].any(dim=0).nonzero()
            columns = int(seen[-1]) + 1 if len(seen) else 0
            self.blocks.append((start, stop, free, hidden[start:stop, :columns]))
        keys = max(free + block.shape[1] for *_, block in self.blocks)
        self.scratch = torch.empty(min(n, step) * group * keys, dtype=dtype, device=mask.device)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sight: Sight,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """The output of `attend_explicit`, (n, H, D), without its weights.

    The G query heads of a key/value head are folded into the rows of one matrix product, whose
    scores go into one buffer that all heads and layers reuse. With few queries over many keys,
    which is what reuse makes of a prompt, this takes a third of the time of
    `scaled_dot_product_attention` on a CPU (`make bench`).
    """
    n, H, D = q.shape
    K = k.shape[0]
    group = H // K
    scale = D**-0.5 if scale is None else scale
    q = (q * scale).view(n, K, group, D).transpose(0, 1).reshape(K, n * group, D)
    out = torch.empty_like(q)
    for start, stop, free, hidden in sight.blocks:
        rows, keys = (stop - start) * group, free + hidden.shape[1]
        scores = sight.scratch[: rows * keys].view(rows, keys)
        by_head = scores.view(stop - start, group, keys)
        for head in range(K):
            block = slice(start * group, stop * group)
            if scores.dtype == q.dtype:
                torch.mm(q[head, block], k[head, :keys].T, out=scores)
            else:
                scores.copy_(torch.mm(q[head, block], k[head, :keys].T))
            if bias is not None:
                by_head += bias.view(K, group, -1)[head, :, :keys]
            by_head[:, :, free:] += hidden[:, None, :]
            torch.softmax(scores, dim=-1, out=scores)
            torch.mm(scores.to(v.dtype), v[head, :keys], out=out[head, block])
    return out.view(K, n, group, D).transpose(0, 1).reshape(n, H, D)
