"""A checkpoint of ours as a model of `transformers`, for comparisons."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from minillm import LoadedModel
from minillm.checkpoint import WEIGHTS_FILE
from minillm.families.llama import LlamaConfig as FamilyOptions
from minillm.families.llama import weights
from minillm.weights_file import open_weights


def transformers_twin(folder: Path, model: LoadedModel) -> LlamaForCausalLM:
    """The checkpoint in `folder` as a model of `transformers`, in the dtype of `model`."""
    config, options = model.config, model.config.family_config
    if not isinstance(options, FamilyOptions) or config.rope_scaling is not None:
        raise SystemExit(f"{folder}: only Llamas without RoPE scaling can be compared")
    with torch.device("meta"):
        twin = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_kv_heads,
                head_dim=config.head_dim,
                max_position_embeddings=config.max_positions,
                rms_norm_eps=config.norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
                tie_word_embeddings=config.tie_embeddings,
                attention_bias=options.attention_bias,
                mlp_bias=options.mlp_bias,
                attn_implementation="sdpa",
            )
        )
    shapes = {name: weight.shape for name, weight in twin.state_dict().items()}
    state = {}
    with open_weights(folder / WEIGHTS_FILE) as file:
        for name, weight in weights(config).items():
            rows = [shapes[source][0] for source in weight.sources]
            parts = file.tensor(name).to(model.transformer.dtype).split(rows)
            state |= dict(zip(weight.sources, (part.clone() for part in parts), strict=True))
    if config.tie_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    twin.load_state_dict(state, strict=True, assign=True)
    twin.tie_weights()
    twin.model.rotary_emb = type(twin.model.rotary_emb)(twin.config)  # its buffer is in no file
    return twin.eval().requires_grad_(False)
