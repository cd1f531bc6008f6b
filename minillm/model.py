"""The transformer: tokens at positions, seen by the rules of a plan, to logits.

The new tokens of all sequences lie packed along one axis T. A `Run` is a stretch of them that
belongs to one cache. Prefill, an argument in the middle of a module, a decode step, a batch,
encoding modules and the oracle are all this one call; nothing of it is remembered in the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minillm.config import ModelConfig
from minillm.families import FAMILIES
from minillm.families.base import Facts, SelfAttention
from minillm.kv import KVCache
from minillm.linear import FastLinear
from minillm.rope import rope_for
from minillm.sight import Queries, Sight
from minillm.sizes import sizes_for
from minillm.visibility import by_matrix, by_position


class Cancelled(Exception):
    """The caller said so; the caches are as they were before."""


@dataclass(frozen=True)
class Run:
    """`num_tokens` new tokens whose keys and values are appended to `cache`.

    They see what `base` holds, what the cache holds, and one another, causally by position; or
    exactly what `mask`, bool (num_tokens, slots of `base` and then of the cache after appending),
    says. A base is only read. It is attended once for all runs that have it and stand side by side.
    """

    cache: KVCache
    num_tokens: int
    mask: Tensor | None = None
    base: KVCache | None = None


@dataclass(frozen=True)
class ForwardPlan:
    """The runs of one forward in the order of their tokens, and the tokens whose logits to give.

    `explicit` takes the readable attention instead of the fast one, which leaves the weights
    (H, n, S) of each layer and run in the list `weights`, if there is one. With `layers` only so
    many leave their keys and values in the caches, which is all that is wanted: the last of them
    does no more, and there are no logits. `cancelled` is asked before each block: the forward
    raises `Cancelled` where it says so.
    """

    runs: Sequence[Run]
    logits_of: Sequence[int]
    explicit: bool = False
    layers: int | None = None
    weights: list[Tensor] | None = None
    cancelled: Callable[[], bool] | None = None


class Transformer(nn.Module):
    """Embedding, blocks of one family, final norm, output layer (tied to the embedding or not)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        family = FAMILIES[config.family]
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = (
            nn.Embedding(config.max_positions, config.hidden_size)
            if config.position_scheme == "learned"
            else None
        )
        self.blocks = nn.ModuleList(family.block(config) for _ in range(config.num_layers))
        self.norm = family.final_norm(config)
        self.output: nn.Module | None = (
            None
            if config.tie_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        self.header: nn.Parameter | None = None
        """(L, n, 2K·D): keys, unturned, and values of n tokens that follow the vocabulary."""

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def dtype_name(self) -> str:
        """As the command line and JSON spell it: `float32`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def new_cache(self, capacity: int = 0) -> KVCache:
        """An empty cache in the dtype and on the device of the weights."""
        return KVCache(self.config, self.dtype, self.device, capacity)

    def replace_linears(
        self, kind: type[FastLinear], tensor: Callable[[str], Tensor | None]
    ) -> None:
        """Put layers of `kind` in place of all linear ones, with the weights that `tensor` gives
        for a name, one after the other; also of the output layer where it is the embedding.

        `kind` makes something else of a matrix and does not keep it: the next one may be read into
        its place."""
        names = [name for name, part in self.named_modules() if isinstance(part, nn.Linear)]
        for name in names:
            weight = tensor(f"{name}.weight")
            assert weight is not None
            self.set_submodule(name, kind(weight, tensor(f"{name}.bias")))
        if self.output is None and (embedding := tensor("embedding.weight")) is not None:
            self.output = kind(embedding, None)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, positions: Tensor, plan: ForwardPlan) -> Tensor:
        """Logits (len(plan.logits_of), V) of `tokens` (T,) at `positions` (T,), both int64; of none
        with `plan.layers`.

        The caches of the plan's runs hold the new tokens' keys and values afterwards, or, if this
        is interrupted, what they held before.
        """
        before = [run.cache.num_slots for run in plan.runs]
        try:
            return self._logits(tokens, positions, plan)
        except BaseException:
            for run, num_slots in zip(plan.runs, before, strict=True):
                run.cache.truncate(num_slots)
            raise

    def _logits(self, tokens: Tensor, positions: Tensor, plan: ForwardPlan) -> Tensor:
        facts = replace(self._facts(positions, plan), given=self.given(tokens))
        x = self.embedded(tokens)  # (T, C)
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        for layer, block in enumerate(self.blocks[: plan.layers]):
            if plan.cancelled and plan.cancelled():
                raise Cancelled
            if layer + 1 == plan.layers:
                norm, attention = block.attention_norm, block.attention
                assert isinstance(norm, nn.Module) and isinstance(attention, SelfAttention)
                attention.take_in(norm(x), layer, facts)
                return x.new_empty(0, self.config.vocab_size)
            x = block(x, layer, facts)
        x = self.norm(x[list(plan.logits_of)])
        return F.linear(x, self.embedding.weight) if self.output is None else self.output(x)

    def embedded(self, tokens: Tensor) -> Tensor:
        """(T, C); nothing for a header's tokens, of which only keys and values are known."""
        x: Tensor
        if self.header is None:
            x = self.embedding(tokens)
        else:
            size = self.config.vocab_size
            x = self.embedding(tokens.clamp(max=size - 1)) * (tokens < size)[:, None]
        return x

    def given(self, tokens: Tensor) -> tuple[Tensor, Tensor] | None:
        """Which of `tokens` (T,) are a header's (n,), and their keys and values (L, n, 2K, D)."""
        if self.header is None:
            return None
        (rows,) = torch.where(tokens >= self.config.vocab_size)
        if not len(rows):
            return None
        kinds = 2 * self.config.num_kv_heads, self.config.head_dim
        numbers = self.header[:, tokens[rows] - self.config.vocab_size]
        return rows, numbers.view(*numbers.shape[:2], *kinds)

    def _facts(self, positions: Tensor, plan: ForwardPlan) -> Facts:
        sizes = [run.num_tokens for run in plan.runs]
        if sum(sizes) != len(positions):
            raise ValueError(f"the runs hold {sum(sizes)} tokens, the forward {len(positions)}")
        _check_caches(plan.runs)
        texts = torch.split(positions, sizes)
        slots = [run.cache.append(text) for run, text in zip(plan.runs, texts, strict=True)]
        runs = [self._queries(run, text) for run, text in zip(plan.runs, texts, strict=True)]
        new = [run.cache.states(*at) for run, at in zip(plan.runs, slots, strict=True)]
        keys, values = zip(*new, strict=True)
        rotation = self._rotation(positions, plan)
        if plan.explicit:
            return Facts(rotation, runs, keys, values, None, weights=plan.weights)
        sight = self._sight(runs)
        return Facts(rotation, runs, keys, values, sight, self._turned(positions, sight))

    def _queries(self, run: Run, positions: Tensor) -> Queries:
        keys = run.cache.positions
        if run.base is not None:
            keys = torch.cat((run.base.positions, keys))
        seen = by_position(positions, keys) if run.mask is None else by_matrix(run.mask)
        return Queries(seen, run.cache, run.base, self._bias(keys))

    def _sight(self, runs: Sequence[Queries]) -> Sight:
        K, H = self.config.num_kv_heads, self.config.num_heads
        readers: Counter[KVCache] = Counter()
        for run in runs:
            for cache in (run.cache, run.base) if run.base else (run.cache,):
                readers[cache] += run.num_tokens
        for cache, num_queries in readers.items():
            cache.get_ready(num_queries, H)
        has_bias = self.config.position_scheme == "alibi"
        sizes = sizes_for(self.dtype, self.device)
        return Sight(runs, K, H // K, self._wide if has_bias else self.dtype, sizes)

    def _rotation(self, positions: Tensor, plan: ForwardPlan) -> tuple[Tensor, Tensor] | None:
        if self.config.position_scheme != "rope":
            return None
        rope, wide = rope_for(self.config, self.device), self._wide
        if not self.config.follows_length:
            return rope.tables(positions, wide)
        texts = torch.split(positions, [run.num_tokens for run in plan.runs])
        cos, sin = zip(*(rope.tables(text, wide) for text in texts), strict=True)
        return torch.cat(cos), torch.cat(sin)

    def _turned(
        self, positions: Tensor, sight: Sight
    ) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
        if not sight.turned:
            return None
        tokens, distances = torch.tensor(sight.turned, device=self.device).unbind(dim=1)
        rope = rope_for(self.config, self.device)
        return tokens, rope.tables(positions[tokens] - distances, self._wide)

    def _bias(self, keys: Tensor) -> Tensor | None:
        if self.config.position_scheme != "alibi":
            return None
        family = FAMILIES[self.config.family]
        bias: Tensor = family.key_bias(self.config, keys, self._wide)
        return bias

    @property
    def _wide(self) -> torch.dtype:
        """The dtype of numbers that depend on positions: bfloat16 would round 1002 to 1000."""
        return torch.promote_types(self.dtype, torch.float32)


def _check_caches(runs: Sequence[Run]) -> None:
    """No cache may be written to by two runs, or be written to and read as a base."""
    written = {run.cache for run in runs}
    if len(written) < len(runs) or written & {run.base for run in runs}:
        raise ValueError("a forward appends to a cache that another of its runs appends to or sees")
