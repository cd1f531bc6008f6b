"""What a gap costs: the first token's distribution with it, against that of the text without.

    fixed    ├ document ┤        what the prompt leaves out        ├ document ┤├ question ┤
    packed   ├ document ┤├ document ┤├ question ┤

The first document is the schema's own text, the second its last module. Under `fixed` what stands
between them stays a gap; the attention is `guaranteed`, which with one module is full prefill but
for the gap. RoPE turns by all that distance, ALiBi dims the first document by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any

import torch

from minillm.checkpoint import LoadedModel
from pml.build import module, param, schema
from pml.engine import PromptCache
from pml.eval.items import Form, Item
from pml.eval.plot import Plot, Point
from pml.eval.question import divergence
from pml.eval.run import Progress
from pml.eval.summary import Estimate, estimate, with_estimates
from pml.nodes import Schema
from pml.reference import full_prefill

LENGTHS = (0, 16, 64, 256, 1024, 4096)


@dataclass(frozen=True)
class GapRow:
    """Kullback-Leibler (nats) of the first token from full prefill without a gap, in either
    layout, and how often the likeliest token is the same."""

    gap: int
    questions: int
    fixed: Estimate
    packed: Estimate
    fixed_agreement: float
    packed_agreement: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, row: dict[str, Any]) -> GapRow:
        """What `as_json` gave."""
        return cls(**with_estimates(row))


def measure_gaps(
    model: LoadedModel,
    form: Form,
    items: Sequence[Item],
    lengths: Sequence[int] = LENGTHS,
    progress: Progress | None = None,
) -> list[GapRow]:
    """A row for each gap that fits the model's context; each item with the documents that it needs,
    two at least."""
    items = [item.limited(max(2, len(item.needed))) for item in items]
    longest = max(_tokens(model, form, item) for item in items)
    gaps = [gap for gap in lengths if gap + longest <= model.config.max_positions]
    found: dict[tuple[int, str], list[tuple[float, bool]]] = defaultdict(list)
    for done, item in enumerate(items):
        if progress:
            progress(done, len(items))
        for case, result in _divergences(model, form, item, gaps):
            found[case].append(result)
    return [_row(gap, found[gap, "fixed"], found[gap, "packed"]) for gap in gaps]


def _divergences(
    model: LoadedModel, form: Form, item: Item, gaps: Sequence[int]
) -> Iterator[tuple[tuple[int, str], tuple[float, bool]]]:
    """The divergence from full prefill, and whether the likeliest token is the same, for each gap
    in either layout."""
    full = None
    for layout in ("fixed", "packed"):
        cache = PromptCache(model, layout=layout)
        for gap in gaps:
            cache.add_schema(_with_gap(form, item, gap))
            prompt = form.prompt(replace(item, documents=("",)))
            prefilled = cache.prefill(prompt)
            if full is None:
                full = full_prefill(model.transformer, cache.full_plan(prompt))
            same = torch.equal(full.argmax(), prefilled.logits.argmax())
            yield (gap, layout), (divergence(full, prefilled.logits), same)


def _row(
    gap: int, fixed: Sequence[tuple[float, bool]], packed: Sequence[tuple[float, bool]]
) -> GapRow:
    kls = [estimate([kl for kl, _ in found]) for found in (fixed, packed)]
    same = [mean(same for _, same in found) for found in (fixed, packed)]
    return GapRow(gap, len(fixed), kls[0], kls[1], same[0], same[1])


def _tokens(model: LoadedModel, form: Form, item: Item) -> int:
    texts = (form.instruction, *item.documents, item.question)
    return sum(len(model.tokenizer.encode(text)) for text in texts) + 32


def _with_gap(form: Form, item: Item, gap: int) -> Schema:
    """The item's last document as a module, behind one that is `gap` tokens long."""
    *before, last = (document + form.separator for document in item.documents)
    left_out = [module("left-out", param("slot", gap))] if gap else []
    return schema("item", form.instruction + "".join(before), *left_out, module("d0", last))


HEAD = ("gap", "questions", "KL fixed", "same token", "KL packed", "same token")


def cells(row: GapRow) -> tuple[str, ...]:
    def shown(kl: Estimate) -> str:
        return f"{kl.mean:.2g} [{kl.low:.2g}, {kl.high:.2g}]"

    return (
        f"{row.gap:,}",
        f"{row.questions}",
        shown(row.fixed),
        f"{row.fixed_agreement:.0%}",
        shown(row.packed),
        f"{row.packed_agreement:.0%}",
    )


def drawn(title: str, rows: Sequence[GapRow]) -> str:
    """KL over the gap's length, as SVG; a gap of 0 stands at 1."""
    points = [
        Point(layout if row is rows[-1] else "", max(1, row.gap), kl.mean, kl.low, kl.high, colour)
        for row in rows
        for colour, (layout, kl) in enumerate([("fixed", row.fixed), ("packed", row.packed)])
    ]
    return Plot(title, "length of the gap, tokens", points, lines=True).svg()
