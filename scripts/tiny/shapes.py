"""The shapes of the tiny models: what sets the families apart, at the least size."""

from __future__ import annotations

from dataclasses import replace

from minillm.config import ModelConfig
from minillm.families.falcon import FalconConfig
from minillm.families.llama import LlamaConfig
from minillm.families.mpt import MPTConfig
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
MPT = replace(
    LLAMA,
    family="mpt",
    family_config=MPTConfig(),
    position_scheme="alibi",
    alibi_max_bias=5.0,
    rotary_dim=0,
    hidden_size=192,
    num_heads=8,
    num_kv_heads=8,
    head_dim=24,
)
FALCON_ALIBI = replace(
    FALCON,
    position_scheme="alibi",
    rotary_dim=0,
    hidden_size=192,
    num_heads=12,
    head_dim=16,
)
SHAPES = {
    "tiny-llama": LLAMA,
    "tiny-falcon": FALCON,
    "tiny-falcon-alibi": FALCON_ALIBI,
    "tiny-mpt": MPT,
}
