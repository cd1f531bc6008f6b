"""The weights that training starts from: small and random, but for a few heads.

Answering from a text takes steps, each worth nothing without the others: tokens must know what
stands before them, find their like, and copy what is there. Left to chance, most of the training
goes by before they meet. So some heads start with a step each, and training goes on from there
(mimetic initialisation: Trockman & Kolter 2023, arXiv 2305.09828; induction heads: Olsson et al.
2022, arXiv 2209.11895). What a head can look at depends on how a model knows positions:
`start_rope.py` and `start_alibi.py`.
"""

from __future__ import annotations

import torch

from minillm.config import ModelConfig
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer
from tiny import start_alibi, start_rope

RANDOM = 0.3


def new_model(config: ModelConfig, tokenizer: Tokenizer, seed: int) -> Transformer:
    model, random = Transformer(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.fill_(float(name.endswith("weight")))
            else:
                weight.normal_(std=RANDOM * weight.shape[1] ** -0.5, generator=random)
        if config.position_scheme == "rope":
            start_rope.write_heads(model, random)
        else:
            start_alibi.write_heads(model, tokenizer, random)
    return model
