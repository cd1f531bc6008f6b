"""The weights that training starts from: drawn, but for what attention looks at.

Answering from a text takes two steps, one of which is worth nothing without the other: tokens must
know what stands before them, and then find their like. Left to chance, most of the training goes by
before the two meet. So the first layer starts with heads that look a few tokens back (RoPE; ALiBi's
slopes do that by themselves). In the others half of the heads look for tokens like their own, half
for tokens behind one like their own, and all pass on what is there (mimetic initialisation:
Trockman & Kolter 2023, arXiv 2305.09828; induction heads: Olsson et al. 2022, arXiv 2209.11895).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minillm.config import ModelConfig
from minillm.model import Transformer
from minillm.rope import frequencies

EMBEDDING, FINAL_NORM = 0.25, 0.2
SHARPNESS = 20.0
"""How much more a head of the first layer scores the token that it looks for than a far one."""


def new_model(config: ModelConfig, seed: int) -> Transformer:
    model, random = Transformer(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.fill_(float(name.endswith("weight")))
            else:
                weight.normal_(std=weight.shape[1] ** -0.5, generator=random)
        common = torch.randn(config.hidden_size, generator=random)
        common /= common.norm()
        _embed(model, common)
        for block in model.blocks:
            block.mlp.down.weight.mul_(0.5)
        first, *others = (block.attention for block in model.blocks)
        before = _look_back(first, config, common)
        for attention in others:
            _look_for_likes(attention, config, common, before)
    return model


def _embed(model: Transformer, common: Tensor) -> None:
    """All tokens have one direction in common, with half of the norm's square."""
    weight = model.embedding.weight
    weight.mul_(EMBEDDING / weight.std())
    weight.copy_((_without(weight, common) + EMBEDDING * len(common) ** 0.5 * common) * 0.5**0.5)
    model.norm.weight.mul_(FINAL_NORM)


def _look_back(attention: nn.Module, config: ModelConfig, common: Tensor) -> Tensor:
    """The heads of the first layer look 1, 2, 3 and 5 tokens back; with ALiBi, at the latest ones.

    Returns what the first head makes of the token that it looks at, (C, C).
    """
    q, k, v = _heads(attention, config)
    q.mul_(0.3)
    k.mul_(0.3)
    attention.output.weight.mul_(0.3)
    omega, D = frequencies(config).float(), config.head_dim
    if config.position_scheme == "rope":
        # Normed tokens have sqrt(C/2) in the common direction; scores are divided by sqrt(D).
        strength = (SHARPNESS * D**0.5 / len(omega)) ** 0.5 / (len(common) / 2) ** 0.5
        still = torch.cat((torch.ones_like(omega), torch.zeros_like(omega)))
        k.add_(strength * still[:, None] * common)
        for head, distance in zip(q, (1, 2, 3, 5), strict=True):
            angles = -distance * omega
            head.add_(strength * torch.cat((angles.cos(), angles.sin()))[:, None] * common)
    return attention.output.weight[:, :D] @ v[0]


def _look_for_likes(
    attention: nn.Module, config: ModelConfig, common: Tensor, before: Tensor
) -> None:
    """Half of the queries are twice the keys. The others are three times the keys of what `before`
    makes of the token. The output turns values back to where they come from."""
    q, k, v = _heads(attention, config)
    H, shared = config.num_heads, config.num_heads // config.num_kv_heads
    for part in (k, v):
        part.copy_(_without(part, common))
    keys = k.repeat_interleave(shared, dim=0)
    q[: H // 2] = 2 * keys[: H // 2]
    q[H // 2 :] = 3 * keys[H // 2 :] @ (before * len(common) ** 0.5 / before.norm())
    back = v.repeat_interleave(shared, dim=0).flatten(0, 1).T
    attention.output.weight.copy_(EMBEDDING * back / shared**0.5)


def _heads(attention: nn.Module, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of queries, keys and values by head, (heads, D, C) each, to be written to."""
    H, K = config.num_heads, config.num_kv_heads
    rows = attention.qkv.weight.unflatten(0, (H + 2 * K, config.head_dim))
    return rows[:H], rows[H : H + K], rows[H + K :]


def _without(vectors: Tensor, direction: Tensor) -> Tensor:
    return vectors - (vectors @ direction)[..., None] * direction
