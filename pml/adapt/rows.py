"""A sample read twice: under full attention, and as a prompt of modules.

The second reading is that of the oracle (`pml/reference.py`), so what is trained is what the engine
computes: each document a module that saw the instruction and itself, and was moved behind others.

    instruction ◄─┬─ document ◄─┬─ continuation      the continuations stand at the same positions
                  └─ document ◄─┴─ continuation      and do not see one another
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from minillm.checkpoint import LoadedModel
from minillm.tokenizer import Tokenizer
from pml.adapt.texts import Sample
from pml.build import module, prompt, schema, use
from pml.plan import PromptPlan
from pml.planner import Planner


@dataclass(frozen=True)
class Row:
    """Tokens and positions (1, T), whom each sees (1, T, T); from `first` on they are those of the
    continuations."""

    tokens: Tensor
    positions: Tensor
    sees: Tensor
    first: int


def plan_of(sample: Sample, tokenizer: Tokenizer, longest: int) -> PromptPlan:
    """The prompt of all documents, packed, less the text behind them: with no text, the last token
    of the last document would be computed again."""
    names = [f"d{n}" for n in range(len(sample.documents))]
    modules = [module(name, text) for name, text in zip(names, sample.documents, strict=True)]
    declared = schema("sample", sample.instruction, *modules)
    planner = Planner.of(declared, tokenizer, longest, layout="packed")
    plan = planner.plan(prompt("sample", *map(use, names), sample.continuations[0]))
    return replace(plan, texts=())


def rows(sample: Sample, model: LoadedModel, tokenizer: Tokenizer) -> tuple[Row, Row]:
    """Under full attention, and as modules; these with the header of `tokenizer`, the student's."""
    longest = model.config.max_positions
    plan = plan_of(sample, tokenizer, longest)
    texts = [model.tokenizer.encode(text) for text in sample.continuations]
    tokens = plan_of(sample, model.tokenizer.with_header(()), longest).selected()
    places = range(len(tokens))
    seen = torch.tensor([span.kind != "ghost" for span in plan.spans for _ in span.tokens])
    sees = torch.from_numpy(plan.visibility())
    full = torch.ones(len(tokens), len(tokens), dtype=torch.bool)
    return (
        _behind(tokens, places, full.tril(), full[0], texts),
        _behind(plan.tokens(), plan.positions(), sees, seen, texts),
    )


def _behind(
    tokens: Sequence[int],
    positions: Sequence[int],
    sees: Tensor,
    seen: Tensor,
    texts: Sequence[Sequence[int]],
) -> Row:
    """`texts` behind `tokens`, of which each sees those that are `seen`, and itself."""
    first, start = len(tokens), max(positions) + 1
    sizes = [len(text) for text in texts]
    owner = torch.repeat_interleave(torch.tensor(sizes))
    mask = torch.zeros(first + len(owner), first + len(owner), dtype=torch.bool)
    mask[:first, :first], mask[first:, :first] = sees, seen
    mask[first:, first:] = (owner[:, None] == owner).tril()
    places = chain(positions, *(range(start, start + size) for size in sizes))
    ids = torch.tensor([[*tokens, *chain(*texts)]])
    return Row(ids, torch.tensor([[*places]]), mask[None], first)
