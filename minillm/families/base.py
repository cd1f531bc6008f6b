"""What the family files share: the facts of one forward, the attention layer, the weight table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minillm.attention import Sight, attend, attend_explicit
from minillm.config import ModelConfig
from minillm.kv import KVCache
from minillm.rope import apply_rope
from minillm.visibility import Visibility


@dataclass(frozen=True)
class Weight:
    """One weight of ours: its shape, and the checkpoint tensors whose rows make it up."""

    shape: tuple[int, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class RunFacts:
    """What all layers need to know of one run: its tokens [start, stop), where its own keys and
    values go (`slot` on), whom its queries see, and the ALiBi row of the keys it looks at.

    A `Sight` is attended to by the fast attention, a `Visibility` by the readable one.
    """

    start: int
    stop: int
    cache: KVCache
    slot: int
    sight: Sight | Visibility
    bias: Tensor | None


@dataclass(frozen=True)
class Facts:
    """What is computed once per forward and handed to every layer."""

    rotation: tuple[Tensor, Tensor] | None
    runs: tuple[RunFacts, ...]


class SelfAttention(nn.Module):
    """Project, rotate, write the new keys and values into each run's cache, attend, project.

    `qkv` is one matrix of ((H + 2K)·D, C): the rows of all queries, then keys, then values.
    """

    def __init__(self, config: ModelConfig, bias: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
        )
        width = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv = nn.Linear(config.hidden_size, width, bias=bias)
        self.output = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=bias)

    def forward(self, x: Tensor, layer: int, facts: Facts) -> Tensor:
        T = x.shape[0]
        H, K, D = self.heads, self.kv_heads, self.head_dim
        qkv = self.qkv(x).view(T, H + 2 * K, D)
        qk, v = qkv[:, : H + K], qkv[:, H + K :]
        if facts.rotation is not None:
            qk = apply_rope(qk, *facts.rotation)
        q, k = qk[:, :H], qk[:, H:]
        out = torch.empty(T, H, D, dtype=x.dtype, device=x.device)
        for run in facts.runs:
            tokens = slice(run.start, run.stop)
            run.cache.write(layer, run.slot, k[tokens].transpose(0, 1), v[tokens].transpose(0, 1))
            keys, values = run.cache.keys(layer), run.cache.values(layer)
            if isinstance(run.sight, Sight):
                out[tokens] = attend(q[tokens], keys, values, run.sight, run.bias)
            else:
                out[tokens] = attend_explicit(q[tokens], keys, values, run.sight, run.bias)[0]
        projected: Tensor = self.output(out.view(T, H * D))
        return projected
