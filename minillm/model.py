"""The transformer: tokens at positions, seen by the rules of a plan, to logits.

The new tokens of all sequences lie packed along one axis T. A `Run` is a stretch of them that
belongs to one cache. Prefill, an argument in the middle of a module, a decode step, a batch,
encoding modules and the oracle are all this one call; nothing of it is remembered in the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minillm.attention import Sight
from minillm.config import ModelConfig
from minillm.families import FAMILIES
from minillm.families.base import Facts, RunFacts
from minillm.kv import KVCache
from minillm.rope import rope_for
from minillm.visibility import by_matrix, by_position


@dataclass(frozen=True)
class Run:
    """`num_tokens` new tokens whose keys and values are appended to `cache`.

    They see what the cache holds, and one another, causally by position; or exactly what `mask`,
    bool (num_tokens, slots of the cache after appending), says.
    """

    cache: KVCache
    num_tokens: int
    mask: Tensor | None = None


@dataclass(frozen=True)
class ForwardPlan:
    """The runs of one forward in the order of their tokens, and the tokens whose logits to give.

    `explicit` takes the readable attention instead of the fast one. With `layers` only so many
    blocks run: what they leave in the caches is wanted, the logits mean nothing.
    """

    runs: Sequence[Run]
    logits_of: Sequence[int]
    explicit: bool = False
    layers: int | None = None


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
        self.output = (
            None
            if config.tie_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def new_cache(self, capacity: int = 0) -> KVCache:
        """An empty cache in the dtype and on the device of the weights."""
        return KVCache(self.config, self.dtype, self.device, capacity)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, positions: Tensor, plan: ForwardPlan) -> Tensor:
        """Logits (len(plan.logits_of), V) of `tokens` (T,) at `positions` (T,), both int64.

        The caches of the plan's runs hold the new tokens' keys and values afterwards.
        """
        facts = self._facts(positions, plan)
        x = self.embedding(tokens)  # (T, C)
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        for layer, block in enumerate(self.blocks[: plan.layers]):
            x = block(x, layer, facts)
        x = self.norm(x[list(plan.logits_of)])
        return F.linear(x, self.embedding.weight) if self.output is None else self.output(x)

    def _facts(self, positions: Tensor, plan: ForwardPlan) -> Facts:
        group = self.config.num_heads // self.config.num_kv_heads
        start, runs = 0, []
        for run in plan.runs:
            stop = start + run.num_tokens
            slot, _ = run.cache.append(positions[start:stop])
            seen = (
                by_position(positions[start:stop], run.cache.positions)
                if run.mask is None
                else by_matrix(run.mask)
            )
            bias = self._bias(run.cache)
            scores = self.dtype if bias is None else bias.dtype
            sight = seen if plan.explicit else Sight(seen, group, scores)
            runs.append(RunFacts(start, stop, run.cache, slot, sight, bias))
            start = stop
        if start != len(positions):
            raise ValueError(f"the runs hold {start} tokens, the forward {len(positions)}")
        return Facts(self._rotation(positions, plan), tuple(runs))

    def _rotation(self, positions: Tensor, plan: ForwardPlan) -> tuple[Tensor, Tensor] | None:
        if self.config.position_scheme != "rope":
            return None
        rope, wide = rope_for(self.config, self.device), self._wide
        if not self.config.follows_length:
            return rope.tables(positions, wide)
        texts = torch.split(positions, [run.num_tokens for run in plan.runs])
        cos, sin = zip(*(rope.tables(text, wide) for text in texts), strict=True)
        return torch.cat(cos), torch.cat(sin)

    def _bias(self, cache: KVCache) -> Tensor | None:
        if self.config.position_scheme != "alibi":
            return None
        family = FAMILIES[self.config.family]
        bias: Tensor = family.key_bias(self.config, cache.positions, self._wide)
        return bias

    @property
    def _wide(self) -> torch.dtype:
        """The dtype of numbers that depend on positions: bfloat16 would round 1002 to 1000."""
        return torch.promote_types(self.dtype, torch.float32)
