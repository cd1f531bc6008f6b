"""The weights of an attention by head, as the heads that a model starts with are written."""

from __future__ import annotations

from torch import nn

from minillm.config import ModelConfig


class Heads:
    """Views: `q` (heads, D, C), `k` and `v` (those that share keys, D, C), `out` (heads, C, D)."""

    def __init__(self, attention: nn.Module, config: ModelConfig) -> None:
        H, K = config.num_heads, config.num_kv_heads
        rows = attention.qkv.weight.unflatten(0, (H + 2 * K, config.head_dim))
        self.q, self.k, self.v = rows.split((H, K, K))
        self.out = attention.output.weight.unflatten(1, (H, -1)).transpose(0, 1)
        self.config = config

    def shared(self, head: int) -> int:
        """Which keys and values this head of queries reads."""
        return head * self.config.num_kv_heads // self.config.num_heads
