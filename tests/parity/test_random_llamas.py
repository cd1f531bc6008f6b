"""24 small random Llamas: saved by `transformers`, converted and run by us.

They differ in head ratios, head sizes, tied or own output, biases, RoPE scaling, shards. Compared
are the logits of a prefill and of a decode over its cache, three times:

- in float64, at positions that jump, up to 3,000. The two float32 islands of `transformers`, the
  rotation's tables and the norm, are replaced by float64 ones written here from the published
  formulas, so that nothing but rounding remains;
- in float32, at positions 0, 1, 2, …, with `transformers` exactly as published;
- in float32, at the positions that jump, ours against the float64 result. Here `transformers` is
  no judge: it takes the angles in float32 and is off by up to 1e-4 of the range at position 3,000
  (the last column says by how much).
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import peer
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from minillm import LoadedModel, load
from minillm.convert import convert
from minillm.model import ForwardPlan, Run

pytestmark = pytest.mark.parity

COUNT = 24
PROMPT, DECODED = 40, 8
FARTHEST = 3000
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""The largest difference of two logits, as a part of their range."""


@dataclass(frozen=True)
class Case:
    """One random model and how its files are written."""

    config: LlamaConfig
    shards: bool


def case(seed: int) -> Case:
    """Ratios and sizes are drawn; what is either there or not goes through all combinations."""
    rng = random.Random(seed)
    kv_heads = rng.choice([1, 2, 3])
    heads = kv_heads * [1, 2, 3, 4][seed % 4]
    head_dim = rng.choice([4, 8, 12, 16])
    hidden = heads * (head_dim if seed % 5 else head_dim + 4)
    theta = rng.choice([10_000.0, 100_000.0, 500_000.0])
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": theta}
    if seed % 3 == 1:
        rope |= {"rope_type": "linear", "factor": rng.choice([2.0, 4.0, 2.5])}
    elif seed % 3 == 2:
        rope |= {
            "rope_type": "llama3",
            "factor": rng.choice([8.0, 32.0]),
            "low_freq_factor": 1.0,
            "high_freq_factor": rng.choice([4.0, 2.0]),
            "original_max_position_embeddings": rng.choice([256, 1024]),
        }
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=hidden,
        intermediate_size=rng.choice([24, 40, 64]),
        num_hidden_layers=rng.choice([1, 2, 3]),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=8192,
        rms_norm_eps=rng.choice([1e-5, 1e-6]),
        tie_word_embeddings=bool(seed & 1),
        attention_bias=bool(seed & 2),
        mlp_bias=bool(seed & 4),
        rope_parameters=rope,
        bos_token_id=None,
        eos_token_id=256,
    )
    return Case(config, shards=bool(seed & 8))


def random_model(config: LlamaConfig, seed: int) -> LlamaForCausalLM:
    """Weights large enough that every part matters; norms and biases are random too."""
    model = LlamaForCausalLM(config).to(torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        if name.endswith("norm.weight"):
            noise = 1 + 0.3 * noise
        elif weight.ndim == 2 and "embed" not in name:
            noise = noise * 1.5 / math.sqrt(weight.shape[1])
        weight.data.copy_(noise)
    return model.eval().requires_grad_(False)


def byte_tokenizer(folder: Path) -> None:
    """A converted model has a tokenizer; 256 bytes and an end of text will do."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: id for id, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))


def inverse_frequencies(config: LlamaConfig) -> Tensor:
    """Radians per position in float64, channel by channel, as Llama 3.1's own code says it."""
    rope = config.rope_parameters
    result = []
    for channel in range(0, config.head_dim, 2):
        frequency = rope["rope_theta"] ** (-channel / config.head_dim)
        if rope["rope_type"] == "linear":
            frequency /= rope["factor"]
        if rope["rope_type"] == "llama3":
            original = rope["original_max_position_embeddings"]
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            wavelength = 2 * math.pi / frequency
            if wavelength > original / low:
                frequency /= rope["factor"]
            elif wavelength >= original / high:
                smooth = (original / wavelength - low) / (high - low)
                frequency = (1 - smooth) * frequency / rope["factor"] + smooth * frequency
        result.append(frequency)
    return torch.tensor(result, dtype=torch.float64)


@contextmanager
def float64_islands() -> Iterator[None]:
    """`transformers` with its norm and rotation tables in float64."""

    def norm(self: LlamaRMSNorm, x: Tensor) -> Tensor:
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()

    def tables(
        self: LlamaRotaryEmbedding, x: Tensor, position_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        frequencies = inverse_frequencies(self.config)
        torch.testing.assert_close(self.inv_freq.double(), frequencies, rtol=1e-5, atol=0)
        angles = position_ids[..., None] * frequencies.repeat(2)
        return angles.cos(), angles.sin()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LlamaRMSNorm, "forward", norm)
        patch.setattr(LlamaRotaryEmbedding, "forward", tables)
        yield


def their_logits(model: LlamaForCausalLM, tokens: list[int], positions: list[int]) -> Tensor:
    """Prefill, then token by token over a cache: (PROMPT + DECODED, V)."""
    cache = DynamicCache(config=model.config)
    causal = torch.ones(len(tokens), len(tokens)).tril().bool()
    parts = []
    for start, stop in steps():
        mask = causal[start:stop, :stop]
        parts.append(
            peer.logits(model, tokens[start:stop], positions[start:stop], mask, cache=cache)
        )
    return torch.cat(parts)


def our_logits(model: LoadedModel, tokens: list[int], positions: list[int]) -> Tensor:
    cache = model.transformer.new_cache()
    parts = []
    for start, stop in steps():
        plan = ForwardPlan([Run(cache, stop - start)], range(stop - start))
        ids, at = torch.tensor(tokens[start:stop]), torch.tensor(positions[start:stop])
        parts.append(model.transformer(ids, at, plan))
    return torch.cat(parts)


def steps() -> list[tuple[int, int]]:
    return [(0, PROMPT), *((at, at + 1) for at in range(PROMPT, PROMPT + DECODED))]


def jumping_positions(rng: random.Random) -> list[int]:
    """Ascending, not from 0, with gaps, the last of them near FARTHEST."""
    return sorted(rng.sample(range(3, FARTHEST + 1), PROMPT + DECODED))


def test_the_cases_cover_what_they_are_for() -> None:
    configs = [case(seed).config for seed in range(COUNT)]
    ratios = {c.num_attention_heads // c.num_key_value_heads for c in configs}
    assert ratios == {1, 2, 3, 4}
    assert {c.rope_parameters["rope_type"] for c in configs} == {"default", "linear", "llama3"}
    assert {c.hidden_size == c.head_dim * c.num_attention_heads for c in configs} == {True, False}
    flags = {(c.tie_word_embeddings, c.attention_bias, c.mlp_bias) for c in configs}
    assert len(flags) == 8
    assert {case(seed).shards for seed in range(COUNT)} == {True, False}


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_llama(seed: int, tmp_path: Path) -> None:
    made = case(seed)
    model = random_model(made.config, seed)
    foreign, converted = tmp_path / "foreign", tmp_path / "converted"
    model.save_pretrained(foreign, max_shard_size="20KB" if made.shards else "1GB")
    assert (len(list(foreign.glob("*.safetensors"))) > 1) == made.shards
    byte_tokenizer(foreign)
    convert(foreign, converted)
    rng = random.Random(seed)
    tokens = [rng.randrange(made.config.vocab_size) for _ in range(PROMPT + DECODED)]
    contiguous, jumping = list(range(len(tokens))), jumping_positions(rng)
    wide, narrow = (load(converted, dtype=dtype) for dtype in (torch.float64, torch.float32))
    published = copy.deepcopy(model).float()
    with float64_islands():
        truth = their_logits(model, tokens, jumping)
    exact = difference(our_logits(wide, tokens, jumping), truth)
    plain = difference(
        our_logits(narrow, tokens, contiguous), their_logits(published, tokens, contiguous)
    )
    rounded = difference(our_logits(narrow, tokens, jumping), truth)
    theirs = difference(their_logits(published, tokens, jumping), truth)
    if seed == 0:
        print("\nmodel  float64   float32   float32 at jumps, from float64: ours, theirs", end="")
    print(f"\n{seed:5d}  {exact:.1e}   {plain:.1e}   {rounded:.1e}   {theirs:.1e}", end=" ")
    assert exact <= TOLERANCE[torch.float64]
    assert plain <= TOLERANCE[torch.float32]
    assert rounded <= TOLERANCE[torch.float32]


def difference(found: Tensor, expected: Tensor) -> float:
    spread = expected.max() - expected.min()
    return ((found.double() - expected.double()).abs().max() / spread).item()
