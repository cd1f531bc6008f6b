"""A forward with gradients, for training: texts of one length side by side, each under a mask.

`Transformer.forward` writes keys and values into caches, which no gradient passes. This is the same
model, the same weights and the same blocks, with an attention that keeps nothing.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minillm.families import FAMILIES
from minillm.families.base import SelfAttention
from minillm.model import Transformer
from minillm.rope import apply_rope, rope_for


@dataclass(frozen=True)
class _Batch:
    """`rotation` is that of all tokens; `bias` (B, H or 1, T, T) is -inf for what is hidden;
    `given` is as in `Facts`."""

    rotation: tuple[Tensor, Tensor] | None
    bias: Tensor
    given: tuple[Tensor, Tensor] | None


class Differentiable:
    """`model`, whose weights it shares, as a function that gradients pass."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self._blocks = [_twin(block) for block in model.blocks]

    def hidden(self, tokens: Tensor, positions: Tensor, sees: Tensor) -> Tensor:
        """What the final norm gives (B, T, C) for `tokens` at `positions` (B, T), both int64.

        `sees` (B, T, T) says whom each token sees; it must see at least one.
        """
        model = self.model
        given = model.given(tokens.flatten())
        batch = _Batch(self._rotation(positions), self._bias(positions, sees), given)
        x = model.embedded(tokens.flatten())
        if model.position_embedding is not None:
            x = x + model.position_embedding(positions.flatten())
        for layer, block in enumerate(self._blocks):
            x = block(x, layer, batch)
        normed: Tensor = model.norm(x)
        return normed.view(*tokens.shape, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of what `hidden` gave, or of some of it."""
        model = self.model
        if model.output is None:
            return F.linear(hidden, model.embedding.weight)
        return cast(Tensor, model.output(hidden))

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor] | None:
        if self.model.config.position_scheme != "rope":
            return None
        rope = rope_for(self.model.config, positions.device)
        return rope.tables(positions.flatten(), self.model.dtype)

    def _bias(self, positions: Tensor, sees: Tensor) -> Tensor:
        config, dtype = self.model.config, self.model.dtype
        hidden = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, -torch.inf)[:, None]
        if config.position_scheme != "alibi":
            return hidden
        family = FAMILIES[config.family]
        return (
            hidden
            + torch.stack([family.key_bias(config, row, dtype) for row in positions])[:, :, None]
        )


def _twin(block: nn.Module) -> nn.Module:
    """`block` with the same parts but for its attention."""
    twin = copy(block)
    twin._modules = {**block._modules, "attention": _Attention(block.attention)}
    return twin


class _Attention(nn.Module):
    """What `SelfAttention` computes, for a batch."""

    def __init__(self, attention: nn.Module | Tensor) -> None:
        super().__init__()
        assert isinstance(attention, SelfAttention)
        self.inner = attention

    def forward(self, x: Tensor, layer: int, batch: _Batch) -> Tensor:
        inner = self.inner
        H, K, D = inner.heads, inner.kv_heads, inner.head_dim
        raw = inner.states(x, layer, batch.given)
        qk, v = raw[:, : H + K], raw[:, H + K :]
        if batch.rotation is not None:
            qk = apply_rope(qk, *batch.rotation)
        size = batch.bias.shape[0], -1
        q, k, v = (
            part.reshape(*size, part.shape[1], D).transpose(1, 2)
            for part in (qk[:, :H], qk[:, H:], v)
        )  # (B, heads, T, D)
        if K != H:
            k, v = (part.repeat_interleave(H // K, dim=1) for part in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, batch.bias, scale=inner.scale)
        projected: Tensor = inner.output(out.transpose(1, 2).flatten(2).flatten(0, 1))
        return projected
