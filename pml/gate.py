"""`pml gate`: is reuse right with this checkpoint, and what does it cost?

A few laws (tests/laws has them all, on small random models) on the real weights and real prompts,
as parts of the logits' range; then some of the questions that come with the package. Nothing is
drawn at random: the same weights give the same card.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor

from minillm.checkpoint import LoadedModel
from minillm.generate import prefill
from minillm.verify import LIMITS, SMALLEST
from pml.assembly import fresh_tokens
from pml.batch import Batch
from pml.card import Answers, Card, Law
from pml.compare import EXPLICIT_TOKENS, distance
from pml.engine import PromptCache
from pml.eval.items import Item
from pml.eval.modes import FULL, mode
from pml.eval.question import Asker, Result
from pml.eval.run import Progress
from pml.eval.summary import Row, summarise
from pml.eval.tasks import Task
from pml.plan import PromptPlan
from pml.reference import full_prefill, oracle
from pml.request import Request
from pml.steps import finish

MODES = (FULL, "fast", "balanced", "exact", "scaffold")
OTHERS = 4  # questions of a batch


def gate(
    model: LoadedModel,
    task: Task,
    questions: int,
    seconds: float,
    progress: Progress | None = None,
) -> tuple[Card, list[Row]]:
    """The card, and the rows behind its answers. No question is begun once `seconds` are over."""
    end = time.monotonic() + seconds
    items = task.items(None, None, 1, max(questions, OTHERS))
    laws = [*_laws(model, task, items[:OTHERS])]
    rows = _asked(model, task, items[:questions], end, progress)
    card = Card(
        model.name,
        model.fingerprint,
        model.tokenizer.fingerprint,
        model.transformer.dtype_name,
        {"pml": version("modular-prompt-cache"), "torch": torch.__version__},
        task.name,
        rows[0].items,
        tuple(laws),
        tuple(_answers(row) for row in rows),
    )
    return card, rows


def _asked(
    model: LoadedModel,
    task: Task,
    items: Sequence[Item],
    end: float,
    progress: Progress | None,
) -> list[Row]:
    asker = Asker(model, task, [mode(name) for name in MODES])
    results: dict[tuple[str, str], Result] = {}
    for done, item in enumerate(items):
        if results and time.monotonic() > end:
            break
        if progress:
            progress(done, len(items))
        results |= {(found.item, found.mode): found for found in asker.ask(item)}
    return summarise(items, MODES, results)


def _answers(row: Row) -> Answers:
    score, agreement, kl = row.score.mean, row.agreement.mean, row.kl.mean
    return Answers(row.mode, score, agreement, kl, row.log_likelihood.mean, row.computed)


def _laws(model: LoadedModel, task: Task, items: Sequence[Item]) -> Iterator[Law]:
    limit, case = LIMITS[model.transformer.dtype], _Case(model, task, items)
    for name, differences in {
        "reuse is the oracle": case.reuse(),
        "a prompt elsewhere is the same": [case.moved()],
        "a batch is its prompts one by one": case.batch(),
        "everything recomputed is full prefill": [case.full(quality="exact")],
        "a scaffold of all is full prefill": [case.full(scaffolded=True)],
    }.items():
        yield Law(name, float(torch.tensor(differences).max()), limit)  # NaN if one is


class _Case:
    """An item, whose schema has a document more than it imports, and other questions about it."""

    def __init__(self, model: LoadedModel, task: Task, items: Sequence[Item]) -> None:
        self.model, self.form, self.item = model, task.form, items[0]
        self.others = [
            replace(item, documents=self.item.documents[: 1 + number])
            for number, item in enumerate(items)
        ]

    def reuse(self) -> list[float]:
        """Every layout and context, the documents' first words as arguments."""
        prompt, found = self.form.prompt(self.item, slots=True), list[float]()
        for layout in ("fixed", "packed"):
            for attention in ("isolated", "guaranteed"):
                cache = PromptCache(self.model, layout=layout, attention=attention)
                cache.add_schema(self.form.schema(self.item, slots=self.model.tokenizer.encode))
                plan = cache.plan(prompt)
                found.append(_apart(cache.prefill(plan).logits, self._oracle(plan)))
        return found

    def moved(self) -> float:
        """All segments and fresh tokens half of the free context further on."""
        cache = self._cache()
        prepared = finish(cache.prepare(self.form.prompt(self.item)))
        plan, buffer = prepared.plan, self.model.transformer.new_cache()
        far = (self.model.config.max_positions - plan.next_position) // 2
        buffer.bring([replace(one, origin=one.origin + far) for one in prepared.placed])
        tokens, positions = fresh_tokens(plan)
        there = prefill(self.model.transformer, buffer, tokens, [at + far for at in positions])
        return _apart(there, self._oracle(plan))

    def batch(self) -> list[float]:
        """Prompts of all documents and of some."""
        cache = self._cache()
        prompts = [self.form.prompt(item) for item in (self.item, *self.others)]
        together = _Recorded(cache)
        requests = [together.add(prompt, max_tokens=1) for prompt in prompts]
        while together.requests:
            together.step()
        return [
            _apart(together.logits[request], cache.prefill(prompt).logits)
            for request, prompt in zip(requests, prompts, strict=True)
        ]

    def full(self, *, quality: str = "fast", scaffolded: bool = False) -> float:
        cache = self._cache(quality, scaffolded)
        prefilled = cache.prefill(self.form.prompt(self.item))
        return _apart(prefilled.logits, full_prefill(self.model.transformer, prefilled.plan))

    def _cache(self, quality: str = "fast", scaffolded: bool = False) -> PromptCache:
        cache = PromptCache(self.model, layout="packed", quality=quality)
        cache.add_schema(self.form.schema(self.item, scaffolded=scaffolded))
        return cache

    def _oracle(self, plan: PromptPlan) -> Tensor:
        explicit = len(plan.tokens()) <= EXPLICIT_TOKENS
        return oracle(self.model.transformer, plan, explicit=explicit)


class _Recorded(Batch):
    """Keeps the logits (V,) of each prompt's last token."""

    def __init__(self, library: PromptCache) -> None:
        super().__init__(library)
        self.logits: dict[Request, Tensor] = {}

    def _prefill_chunk(self, requests: Sequence[Request]) -> list[Tensor | None]:
        rows = super()._prefill_chunk(requests)
        pairs = zip(requests, rows, strict=True)
        self.logits |= {request: row for request, row in pairs if row is not None}
        return rows


def _apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a part of the range of what is expected."""
    between = distance(found, expected)
    return between.max_abs_diff / max(between.logit_range, SMALLEST)
