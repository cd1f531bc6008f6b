"""Weights that anyone can draw again: what the golden logits of the families were computed with."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from minillm.model import ForwardPlan, Run, Transformer

GOLDEN_FOLDER = Path(__file__).parent / "golden" / "families"
SHOWN = 50
"""The golden logits are those of every 50th token of the vocabulary."""

Steps = Sequence[tuple[int, int]]


def drawn(name: str, shape: Sequence[int]) -> Tensor:
    """Numbers in float64 that depend on the tensor's name and shape only.

    They are large enough that every part of a model matters: attention scores have a deviation of
    about 1, norms and biases are far from 1 and 0.
    """
    uniform = np.random.Generator(np.random.PCG64(crc32(name.encode()))).random(tuple(shape))
    numbers = torch.from_numpy(math.sqrt(12) * (uniform - 0.5))  # deviation 1
    if name.endswith("bias"):
        return 0.3 * numbers
    if len(shape) == 1:  # of a norm
        return 1 + 0.3 * numbers
    is_embedding = any(part in name for part in ("embed", "wte", "wpe"))
    return numbers if is_embedding else numbers * (1.5 / math.sqrt(shape[-1]))


CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_tokenizer(folder: Path) -> None:
    """A converted model has a tokenizer: the 256 bytes will do, and the markers of ChatML."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: id for id, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|endoftext|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def our_logits(
    model: Transformer, tokens: Sequence[int], positions: Sequence[int], steps: Steps
) -> Tensor:
    """Logits (T, V) of tokens at positions, step by step over a cache."""
    cache, parts = model.new_cache(), []
    for start, stop in steps:
        ids, at = torch.tensor(tokens[start:stop]), torch.tensor(positions[start:stop])
        parts.append(model(ids, at, ForwardPlan([Run(cache, stop - start)], range(stop - start))))
    return torch.cat(parts)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two logits, as a part of their range."""
    spread = expected.max() - expected.min()
    return ((found.double() - expected.double()).abs().max() / spread).item()
