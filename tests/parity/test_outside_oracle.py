"""An oracle from outside: what `pml explain --json` prints, run by the publishers' code.

Mask and positions are rebuilt from the printed JSON and nothing else (`explained.py`); the
published model then runs once, plainly, under that mask. The engine, which encodes, stores, moves
and appends, must give the same logits for the prompt's last token. SmolLM2 runs in float32; small
random models of every family, saved by `transformers` and converted by us, run in float64.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import explained
import peer
import pytest
import tables
import torch
from explained import COUNTED, Content
from families_cases import CASES
from families_golden import difference, write_tokenizer
from families_oracles import oracle_of
from generated import LETTERS, WORDS, Documents, Draw
from torch import Tensor

from minillm import LoadedModel, load
from minillm.convert import convert
from pml import PromptCache
from pml.explain import explain

pytestmark = pytest.mark.parity

PROMPTS = 30
LAYOUTS = ("fixed", "packed")
ATTENTIONS = ("guaranteed", "isolated", "joint", "learned")
CONTEXTS = {*ATTENTIONS, "scaffold"}
ABSENT = {"fixed": {"moved"}, "packed": {"left out"}}
"""What a layout's prompts have no way to show, or hardly any."""
SINGLE, EXACT = 1e-4, 1e-9
"""The largest difference of two logits, as a part of their range: SmolLM2's, the others'."""

SMOLLM2 = "SmolLM2"
RANDOM = {
    "Llama, grouped, biases": ("llama", "both biases, grouped, tied"),
    "Llama, partial rotation": ("llama", "partial, grouped"),
    "Falcon, RoPE": ("falcon", "40B"),
    "Falcon, ALiBi": ("falcon", "RW, 6 heads, output not tied"),
    "MPT, ALiBi": ("mpt", "clip_qkv and softmax_scale, 6 heads"),
}
POSITIONS = {"llama": "max_position_embeddings", "falcon": "max_position_embeddings"}
POSITIONS |= {"mpt": "max_seq_len"}

COLUMNS = ("model", "layout", "prompts", *COUNTED, "engine", "full prefill")
HEAD = tables.head(COLUMNS)

Published = Callable[[Sequence[int], Sequence[int], Tensor], Tensor]
"""Logits (V,) of the last token: ids, positions, and who sees whom, bool (T, T)."""


@dataclass(frozen=True)
class Subject:
    """A model on both sides, what its prompts are made of, and how near the two have to be."""

    name: str
    model: LoadedModel
    published: Published
    pieces: Sequence[str]
    tolerance: float


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    tables.show(HEAD, rows)


@pytest.fixture(scope="module", params=(SMOLLM2, *RANDOM))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    if request.param != SMOLLM2:
        return random_subject(request.param, tmp_path_factory.mktemp("outside"))
    ours, theirs = (request.getfixturevalue(which) for which in ("ours", "theirs"))

    def published(ids: Sequence[int], positions: Sequence[int], mask: Tensor) -> Tensor:
        return peer.logits(theirs, ids, positions, mask, keep=1)[0]

    return Subject(SMOLLM2, ours, published, WORDS, SINGLE)


def random_subject(name: str, folder: Path) -> Subject:
    family, variant = RANDOM[name]
    (case,) = (case for case in CASES if (case.family, case.variant) == (family, variant))
    case = replace(case, config={**case.config, POSITIONS[family]: 8192})
    oracle = oracle_of(case)
    oracle.save(folder / "saved", "1GB")
    write_tokenizer(folder / "saved")
    convert(folder / "saved", folder / "ours")

    def published(ids: Sequence[int], positions: Sequence[int], mask: Tensor) -> Tensor:
        return oracle.logits(ids, positions, [(0, len(ids))], mask)[-1]

    model = load(folder / "ours", dtype=torch.float64)
    return Subject(name, model, published, LETTERS, EXACT)


@dataclass(frozen=True)
class Row:
    """One prompt: what it shows, and how far the engine, and full prefill, are from the oracle."""

    attention: str
    counts: Counter[str]
    contexts: set[str]
    engine: float
    full: float

    def __str__(self) -> str:
        counts = " ".join(f"{self.counts[kind]:11d}" for kind in COUNTED)
        contexts = " ".join(sorted(self.contexts))
        return f"{self.attention:<10} {counts}  {self.engine:11.1e}  {self.full:12.1e}  {contexts}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_engine_does_what_explain_says(subject: Subject, layout: str, table: list[str]) -> None:
    names = " ".join(f"{kind:>11}" for kind in COUNTED)
    print(f"\n{subject.name}, {layout}: tokens, and |Δ| ÷ range of logits")
    print(f"attention  {names}       engine  full prefill  contexts")
    rows: list[Row] = []
    for seed in range(PROMPTS):
        attention = ATTENTIONS[seed % len(ATTENTIONS)]
        documents = Draw(seed, layout, subject.pieces).documents()
        rows.append(compared(subject, documents, attention, layout))
        print(rows[-1], flush=True)
    total = sum((row.counts for row in rows), Counter())
    engine, full = max(row.engine for row in rows), median(row.full for row in rows)
    counts = (f"{total[kind]:,}" for kind in COUNTED)
    cells = (subject.name, layout, str(PROMPTS), *counts, f"{engine:.0e}", f"{full:.0e}")
    table.append(tables.row(*cells))
    assert engine <= subject.tolerance
    assert set().union(*(row.contexts for row in rows)) == CONTEXTS
    assert {kind for kind in COUNTED if not total[kind]} <= ABSENT[layout]
    # One imported module may be all that full prefill is, as learned ones are; else the mask shows.
    others = [row.full > 10 * SINGLE for row in rows if row.attention != "learned"]
    assert sum(others) >= len(others) * 3 / 4


def compared(subject: Subject, documents: Documents, attention: str, layout: str) -> Row:
    """The engine's answer to a prompt, and the published model's under what `explain` printed."""
    cache = PromptCache(
        subject.model, attention=attention, layout=layout, recompute=documents.recompute
    )
    cache.add_schema(documents.schema)
    if attention == "learned":
        cache.learn(cache.plan(documents.served))
    plan = cache.plan(documents.prompt)
    content: Content = json.loads(json.dumps(explain(cache, plan)))
    prefilled = cache.prefill(plan)
    selected = explained.selected(content)
    last = selected[-1]
    order = [*(i for i in range(len(content["tokens"])) if i != last), last]
    expected = judged(subject, content, order, explained.visibility(content)[order][:, order])
    causal = torch.ones(len(selected), len(selected), dtype=torch.bool).tril()
    return Row(
        attention,
        explained.cover(content, prefilled.usage.recomputed_tokens),
        explained.contexts(content),
        engine=difference(prefilled.logits, expected),
        full=difference(judged(subject, content, selected, causal), expected),
    )


def judged(subject: Subject, content: Content, order: Sequence[int], mask: Tensor) -> Tensor:
    """The published model's logits (V,) of the last of the tokens `order`, which see one another
    as `mask` says."""
    tokens = [content["tokens"][i] for i in order]
    ids, positions = ([token[key] for token in tokens] for key in ("id", "position"))
    return subject.published(ids, positions, mask)


def test_the_docs_hold_the_table() -> None:
    written = (Path(__file__).parents[2] / "docs" / "parity.md").read_text()
    assert HEAD in written
    for name in (SMOLLM2, *RANDOM):
        for layout in LAYOUTS:
            assert f"| {name} | {layout} | {PROMPTS} |" in written
