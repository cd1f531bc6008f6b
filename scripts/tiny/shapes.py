"""The shapes of the four tiny models: what sets the families apart, at the least size."""

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
    hidden_size=64,
    intermediate_size=128,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    max_positions=4096,
    norm_eps=1e-5,
    position_scheme="rope",
    tie_embeddings=True,
    family_config=LlamaConfig(),
    rotary_dim=16,
)
FALCON = replace(
    LLAMA,
    family="falcon",
    family_config=FalconConfig(wiring="one norm"),
    num_kv_heads=1,
    intermediate_size=256,
)
ALIBI = {"position_scheme": "alibi", "rotary_dim": 0}
SHAPES = {
    "tiny-llama": LLAMA,
    "tiny-mpt": replace(
        LLAMA,
        family="mpt",
        family_config=MPTConfig(),
        num_kv_heads=4,
        intermediate_size=256,
        position_scheme="alibi",
        rotary_dim=0,
    ),
    "tiny-falcon": FALCON,
    "tiny-falcon-alibi": replace(FALCON, position_scheme="alibi", rotary_dim=0),
}
