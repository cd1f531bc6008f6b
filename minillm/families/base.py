"""What the family files share: the facts of one forward, the attention layer, the weight table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minillm.attention import attend, attend_explicit
from minillm.config import ModelConfig
from minillm.rope import apply_rope
from minillm.sight import Queries, Sight


@dataclass(frozen=True)
class Grouped:
    """An order of rows: group by group, each of which holds `parts[i]` rows of every kind i.

    >>> rows = torch.tensor([11, 12, 21, 31, 13, 14, 22, 32])  # q q k v, q q k v
    >>> Grouped(groups=2, parts=(2, 1, 1)).by_kind(rows).tolist()
    [11, 12, 13, 14, 21, 22, 31, 32]
    """

    groups: int
    parts: tuple[int, ...]

    def by_kind(self, rows: Tensor) -> Tensor:
        """`rows` (groups·sum(parts), …) with all of the first kind first, as ours are."""
        grouped = rows.view(self.groups, sum(self.parts), *rows.shape[1:])
        kinds = torch.split(grouped, list(self.parts), dim=1)
        return torch.cat([kind.flatten(0, 1) for kind in kinds])


@dataclass(frozen=True)
class Weight:
    """One weight of ours: its shape, and the checkpoint tensors whose rows make it up.

    `order` is that of the tensors' rows, where it is not ours.
    """

    shape: tuple[int, ...]
    sources: tuple[str, ...]
    order: Grouped | None = None

    def assemble(self, tensors: Sequence[Tensor]) -> Tensor:
        """This weight out of its sources' tensors, which have one dtype."""
        rows = torch.cat(list(tensors)) if len(tensors) > 1 else tensors[0]
        return rows if self.order is None else self.order.by_kind(rows)


def layer_weights(
    name: str,
    shape: tuple[int, ...],
    sources: Sequence[str],
    bias: bool = False,
    order: Grouped | None = None,
) -> dict[str, Weight]:
    """What a linear layer or a norm has: a weight of `shape`, and a bias for each row or none."""
    table = {f"{name}.weight": Weight(shape, tuple(f"{s}.weight" for s in sources), order)}
    if bias:
        table[f"{name}.bias"] = Weight(shape[:1], tuple(f"{s}.bias" for s in sources), order)
    return table


@dataclass(frozen=True)
class Facts:
    """What is computed once per forward and handed to every layer.

    `new_keys` and `new_values` are where those of each run's tokens go, by run and layer. With
    `sight` the fast attention runs, without it the readable one. `turned` are the tokens (X,) whose
    queries `sight` wants turned once more, and what they are turned by. `weights` gathers those of
    the readable attention. `given` are the tokens (n,) whose keys and values (L, n, 2K, D) are not
    to be computed.
    """

    rotation: tuple[Tensor, Tensor] | None
    runs: Sequence[Queries]
    new_keys: Sequence[Sequence[Tensor]]
    new_values: Sequence[Sequence[Tensor]]
    sight: Sight | None
    turned: tuple[Tensor, tuple[Tensor, Tensor]] | None = None
    weights: list[Tensor] | None = None
    given: tuple[Tensor, Tensor] | None = None


class SelfAttention(nn.Module):
    """Project, rotate, write the new keys and values into each run's cache, attend, project.

    `qkv` is one matrix of ((H + 2K)·D, C): the rows of all queries, then keys, then values.
    """

    def __init__(self, config: ModelConfig, bias: bool, scale: float | None = None) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
        )
        self.scale = scale
        width = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv = nn.Linear(config.hidden_size, width, bias=bias)
        self.output = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=bias)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of `x` (T, C), side by side: (T, (H + 2K)·D).

        A family that does more here (clips them, norms the queries) overrides this.
        """
        qkv: Tensor = self.qkv(x)
        return qkv

    def states(self, x: Tensor, layer: int, given: tuple[Tensor, Tensor] | None) -> Tensor:
        """Queries, keys and values of `x` (T, C) by head, (T, H + 2K, D), none of them turned.
        Keys and values that are `given` (see `Facts`) stand in place of those computed."""
        raw = self.project(x).view(-1, self.heads + 2 * self.kv_heads, self.head_dim)
        if given is not None:
            tokens, numbers = given
            raw[tokens, self.heads :] = numbers[layer]
        return raw

    def take_in(self, x: Tensor, layer: int, facts: Facts) -> Tensor:
        """Write the keys and values of `x` (T, C) where they go; the queries that are wanted of
        them, turned (T + X, H, D): see `Facts.turned`."""
        H, K = self.heads, self.kv_heads
        raw = self.states(x, layer, facts.given)
        qk, v = raw[:, : H + K], raw[:, H + K :]
        if facts.rotation is not None:
            qk = apply_rope(qk, *facts.rotation)
        q, k = qk[:, :H], qk[:, H:]
        if facts.turned is not None:
            tokens, rotation = facts.turned
            q = torch.cat((q, apply_rope(raw[tokens, :H], *rotation)))
        self._write(k, layer, facts.new_keys)
        self._write(v, layer, facts.new_values)
        return q

    def forward(self, x: Tensor, layer: int, facts: Facts) -> Tensor:
        q = self.take_in(x, layer, facts)
        if facts.sight is None:
            texts = torch.split(q, [run.num_tokens for run in facts.runs])
            pairs = zip(texts, facts.runs, strict=True)
            read = [self._readable(text, layer, run) for text, run in pairs]
            out = torch.cat([part for part, _ in read])
            if facts.weights is not None:
                facts.weights.extend(weights for _, weights in read)
        else:
            out = attend(q, layer, facts.sight, self.scale)
        projected: Tensor = self.output(out.flatten(1))
        return projected

    def _write(self, new: Tensor, layer: int, places: Sequence[Sequence[Tensor]]) -> None:
        """Put keys or values (T, K, D) into the slots of the runs that they belong to."""
        by_head, start = new.transpose(0, 1), 0
        for place in places:
            stop = start + place[layer].shape[1]
            place[layer].copy_(by_head[:, start:stop])
            start = stop

    def _readable(self, q: Tensor, layer: int, run: Queries) -> tuple[Tensor, Tensor]:
        caches = [run.cache] if run.base is None else [run.base, run.cache]
        keys = torch.cat([cache.keys(layer) for cache in caches], dim=1)
        values = torch.cat([cache.values(layer) for cache in caches], dim=1)
        return attend_explicit(q, keys, values, run.visibility, run.bias, self.scale)
