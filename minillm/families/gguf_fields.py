"""The fields of GGUF's metadata that all families share, under `ARCHITECTURE.` each."""

from __future__ import annotations

from collections.abc import Mapping

from minillm.config import FamilyConfig, ModelConfig
from minillm.families.fields import Fields, expect, integer, real

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of the file's tensors by name: some facts are in no field."""


def read_gguf_fields(
    family: str, metadata: Fields, shapes: Shapes, eps: str, family_config: FamilyConfig
) -> ModelConfig:
    """The configuration of a model with RoPE; `eps` is the field of the norms' epsilon.

    Raises `KeyError` for a missing field and `ValueError` for one that is not supported.
    """
    prefix = f"{family}."
    fields = {k.removeprefix(prefix): v for k, v in metadata.items() if k.startswith(prefix)}
    expect(fields, **{"rope.scaling.type": "none"})
    hidden_size = integer(fields, "embedding_length")
    num_heads = integer(fields, "attention.head_count")
    head_dim = integer(fields, "attention.key_length", default=hidden_size // num_heads)
    return ModelConfig(
        family=family,
        # Files before 2024 say the size of their vocabulary nowhere else.
        vocab_size=integer(fields, "vocab_size", default=shapes["token_embd.weight"][0]),
        hidden_size=hidden_size,
        intermediate_size=integer(fields, "feed_forward_length"),
        num_layers=integer(fields, "block_count"),
        num_heads=num_heads,
        num_kv_heads=integer(fields, "attention.head_count_kv", default=num_heads),
        head_dim=head_dim,
        max_positions=integer(fields, "context_length"),
        norm_eps=real(fields, eps),
        position_scheme="rope",
        tie_embeddings="output.weight" not in shapes,
        family_config=family_config,
        rope_theta=real(fields, "rope.freq_base", default=10000.0),
        rotary_dim=integer(fields, "rope.dimension_count", default=head_dim),
    )
