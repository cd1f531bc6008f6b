"""The machine's bandwidth and throughput, and the least time that a forward can take with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from minillm.bench import median
from minillm.config import ModelConfig
from minillm.families import num_parameters


@dataclass(frozen=True)
class Machine:
    """Bytes a second read and copied (the copy's payload), operations a second multiplied."""

    read: float
    copy: float
    multiply: float

    @classmethod
    def measured(cls, dtype: torch.dtype, repeats: int) -> Machine:
        block = torch.randn(64 << 20)  # 256 MiB, far larger than any cache
        place = torch.empty_like(block)
        a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
        return cls(
            block.nbytes / median(block.sum, repeats),
            block.nbytes / median(lambda: place.copy_(block), repeats),
            2 * 2048**3 / median(lambda: a @ b, repeats),
        )

    def seconds(self, config: ModelConfig, itemsize: int, cached: int, new: int) -> float:
        """The least that `new` tokens after `cached` ones can take: max(bytes / bandwidth,
        operations / throughput)."""
        embedding = config.vocab_size * config.hidden_size
        numbers = num_parameters(config)
        # Two operations per weight and token; the output layer for one token only.
        inside = numbers - embedding * (1 if config.tie_embeddings else 2)
        linear = 2 * (inside * new + embedding)
        # Scores and weighted sum: four per pair, channel and layer, over the mean of the keys.
        pairs = new * (cached + (new + 1) / 2)
        attention = 4 * pairs * config.num_heads * config.head_dim * config.num_layers
        read = numbers * itemsize + (cached + new) * config.kv_bytes_per_token(itemsize)
        return max((linear + attention) / self.multiply, read / self.read)
