"""Does a checkpoint still give the logits that it gave when it was converted?

`record` keeps some of them, `verify` compares: another machine, device, dtype or version of this
runtime or of torch must give the same, in prefill and token by token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from minillm.checkpoint import LoadedModel, fingerprint, load_transformer
from minillm.config import ModelConfig
from minillm.config_file import load_config
from minillm.errors import IntegrityError, LoadError
from minillm.golden_file import GOLDEN_FILE, Golden, Row, load_golden, save_golden
from minillm.model import ForwardPlan, Run, Transformer
from minillm.tokenizer import load_tokenizer

LENGTH, ROWS = 24, 4  # tokens, and how many of the rows after them are kept
HIGHEST, SPREAD = 8, 16  # logits of a row: the highest, and others all over the vocabulary
FAR, FARTHEST = 1000, 4000  # where the second text begins, and where the third one ends
SMALLEST = 1e-9  # range of a row
LIMITS = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.15}
"""How far logits may be off, as parts of a row's range: several times what rounding does."""


@dataclass(frozen=True)
class Verified:
    """The largest differences from the golden logits, as parts of a row's range, and the limit.

    `decode` is None where keys depend on the whole text's length, so that it is prefilled at once.
    """

    rows: int
    prefill: float
    decode: float | None
    limit: float


def record(folder: Path) -> None:
    """Write `golden.json` of a converted checkpoint; raises `LoadError`.

    The logits are those of float32, whatever the weights are stored in. One block at a time is
    widened: what else it takes is little memory, and the file stays mapped.
    """
    stored, tokenizer = load_config(folder), load_tokenizer(folder)
    model = load_transformer(folder, stored)
    _widen(model)
    tokens, positions = _texts(stored.model)
    logits = _logits(model, tokens, positions, min(ROWS, len(tokens)))
    if not logits.isfinite().all():
        raise LoadError("the weights give logits that are not finite")
    rows = tuple(tuple(_row(row) for row in text) for text in logits)
    golden = Golden(fingerprint(stored), tokenizer.fingerprint, tokens, positions, rows)
    save_golden(golden, folder)


def verify(model: LoadedModel, folder: Path) -> Verified:
    """Compare `model`, which was loaded from `folder`, with the golden logits there.

    Raises `IntegrityError` where they, or the tokenizer, are not the same, and `LoadError` where
    there are none.
    """
    path = folder / GOLDEN_FILE
    golden = load_golden(folder, model.config)
    if golden.model != model.fingerprint:
        raise IntegrityError(f"{path}: is of other weights or another config.json")
    if golden.tokenizer != model.tokenizer.fingerprint:
        raise IntegrityError(f"{path}: is of another tokenizer or roles.json")
    limit = LIMITS[model.transformer.dtype]
    prefill = _difference(model.transformer, golden, decode=False)
    follows_length = model.config.follows_length
    decode = None if follows_length else _difference(model.transformer, golden, decode=True)
    for way, found in (("prefill", prefill), ("decode", decode)):
        if found is not None and not found <= limit:  # NaN is above any limit
            raise IntegrityError(
                f"{folder}: logits of {way} are off by {found:.2g} of their range, expected at "
                f"most {limit} in {model.transformer.dtype_name}"
            )
    return Verified(sum(map(len, golden.rows)), prefill, decode, limit)


def _texts(config: ModelConfig) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Tokens, and their positions: from 0 on, far from there, and with gaps."""
    length = min(LENGTH, config.max_positions)
    far = min(FAR, config.max_positions - length)
    gap = max(1, min(FARTHEST, config.max_positions) // length)
    tokens = tuple((7919 * i + 17) % config.vocab_size for i in range(length))
    starts_and_steps = ((0, 1), (far, 1), (0, gap))
    return tokens, tuple(tuple(range(a, a + length * step, step)) for a, step in starts_and_steps)


def _row(logits: Tensor) -> Row:
    """Some logits of all (V,), to nine digits, which float32 has."""
    order = logits.argsort(descending=True).tolist()
    spread = range(0, len(order), -(-len(order) // SPREAD))
    tokens = (*order[:HIGHEST], order[-1], *spread)
    return {token: float(f"{logits[token]:.9g}") for token in tokens}


def _difference(model: Transformer, golden: Golden, decode: bool) -> float:
    """The largest one, as a part of its row's range; NaN where a logit is none."""
    logits = _logits(model, golden.tokens, golden.positions, len(golden.rows[0]), decode)
    differences = []
    for found, row in zip(logits.flatten(0, 1), chain.from_iterable(golden.rows), strict=True):
        expected = torch.tensor(list(row.values()), dtype=torch.float64)
        spread = (expected.max() - expected.min()).clamp(min=SMALLEST)
        differences.append((found[list(row)] - expected).abs().max() / spread)
    return float(torch.stack(differences).max())


def _logits(
    model: Transformer,
    tokens: Sequence[int],
    positions: Sequence[Sequence[int]],
    rows: int,
    decode: bool = False,
) -> Tensor:
    """Logits (texts, rows, V) after the last `rows` tokens of each text; all texts go together.

    With `decode` all rows but the first come of single tokens over a cache.
    """
    total, first = len(tokens), len(tokens) - rows
    edges = [0, *range(first + 1, total), total] if decode else [0, total]
    caches, found = [model.new_cache(total) for _ in positions], []
    for start, stop in pairwise(edges):
        n = stop - start
        ids = torch.tensor([*tokens[start:stop]] * len(positions))
        at = torch.tensor([text[start:stop] for text in positions]).flatten()
        ends = [
            text * n + i for text in range(len(caches)) for i in range(max(first - start, 0), n)
        ]
        plan = ForwardPlan([Run(cache, n) for cache in caches], ends)
        logits = model(ids.to(model.device), at.to(model.device), plan)
        found.append(logits.unflatten(0, (len(caches), -1)))
    return torch.cat(found, dim=1).to("cpu", torch.float64)


class _Widened(nn.Module):
    """A block whose weights are float32 while it runs."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *inputs: Any) -> Any:
        wide = {name: weight.float() for name, weight in self.block.named_parameters()}
        return functional_call(self.block, wide, inputs)


def _widen(model: Transformer) -> None:
    for name, part in model.named_children():
        if name != "blocks":
            part.float()
    model.blocks = nn.ModuleList(map(_Widened, model.blocks))
