"""The shapes of the tiny models: what sets the families apart, at the least size."""

from __future__ import annotations

from dataclasses import replace

from minillm.config import ModelConfig
from minillm.families.falcon import FalconConfig
from minillm.families.llama import LlamaConfig
from tiny.vocabulary import SIZE

LLAMA = ModelConfig(
    family="llama",
    vocab_size=SIZE,
    hidden_size=128,
    intermediate_size=256,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    max_positions=4096,
    norm_eps=1e-5,
    position_scheme="rope",
    tie_embeddings=True,
    family_config=LlamaConfig(),
    rotary_dim=8,
)
FALCON = replace(
    LLAMA,
    family="falcon",
    family_config=FalconConfig(wiring="one norm"),
    num_kv_heads=1,
    intermediate_size=256,
)
SHAPES = {"tiny-llama": LLAMA, "tiny-falcon": FALCON}
