"""One item asked in several modes: what each answered, and how far it is from full prefill.

A time to first token runs from the parsed prompt to its last token's logits, with planning, what
has to be measured, and all copies; the documents are encoded before. All modes decode together,
each from its own buffer, since decoding is not what is compared.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minillm.answer import Answer
from minillm.checkpoint import LoadedModel
from minillm.generate import advance, prefill
from minillm.kv import KVCache, KVSegment, Placed
from minillm.model import ForwardPlan, Run, Transformer
from pml.assembly import fresh_tokens
from pml.eval.items import Item
from pml.eval.modes import FULL, Mode
from pml.eval.score import best
from pml.eval.tasks import Task
from pml.library import Library
from pml.recompute import Recompute
from pml.reference import full_prefill
from pml.steps import finish
from pml.store import ModuleStore


@dataclass(frozen=True)
class Result:
    """`agrees` with full prefill in every token; `kl` of the first token, nats; `log_likelihood` of
    the right answer, nats a token; `computed` of `tokens` prompt tokens; `ttft` in seconds."""

    item: str
    mode: str
    answer: str
    score: float
    agrees: bool
    kl: float
    log_likelihood: float
    tokens: int
    computed: int
    ttft: float


@dataclass(frozen=True)
class _Prefilled:
    logits: Tensor
    position: int
    tokens: int
    computed: int
    ttft: float


class Asker:
    """Asks a model the items of a task. States and warm buffers stay from item to item: the states
    until the documents change. The full prefill is that of `teacher`: the model itself, or the one
    that it was adapted from."""

    def __init__(
        self,
        model: LoadedModel,
        task: Task,
        modes: Sequence[Mode],
        teacher: LoadedModel | None = None,
    ) -> None:
        self.model, self.task, self.teacher = model, task, teacher or model
        self.modes = [mode for mode in modes if mode.name != FULL]
        self._documents: tuple[str, ...] | None = None
        self._libraries: dict[str, Library] = {}
        names = (FULL, *(mode.name for mode in self.modes))
        self._buffers = {name: self._model(name).transformer.new_cache() for name in names}

    def _model(self, mode: str) -> LoadedModel:
        return self.teacher if mode == FULL else self.model

    def _new_libraries(self) -> dict[str, Library]:
        """One for each mode, over one store in which nothing is."""
        self._store = ModuleStore()
        return {
            mode.name: Library(
                self.model,
                attention=mode.attention,
                layout=mode.layout,
                recompute=mode.recompute,
                store=self._store,
            )
            for mode in self.modes
        }

    def ask(self, item: Item) -> list[Result]:
        """Full prefill's result, and that of every mode."""
        if item.documents != self._documents:
            self._documents, self._libraries = item.documents, self._new_libraries()
        found = {mode.name: self._cached(mode, item) for mode in self.modes}
        found = {FULL: self._full(item), **found}
        likelihoods = [self._likelihood(name, each, item) for name, each in found.items()]
        answers = self._decode(found)
        results = zip(found.items(), answers, likelihoods, strict=True)
        return [
            Result(
                item.id,
                name,
                (text := self._text(tokens)),
                best(self.task.score, text, item.answers),
                tokens == answers[0],
                divergence(found[FULL].logits, each.logits),
                likelihood,
                each.tokens,
                each.computed,
                each.ttft,
            )
            for (name, each), tokens, likelihood in results
        ]

    def _cached(self, mode: Mode, item: Item) -> _Prefilled:
        library, buffer = self._libraries[mode.name], self._buffers[mode.name]
        slots = self.model.tokenizer.encode if mode.slots else None
        library.add_schema(self.task.form.schema(item, scaffolded=mode.scaffolded, slots=slots))
        prompt = self.task.form.prompt(item, slots=mode.slots)
        library.encode(library.plan(prompt, recompute=Recompute(unseen=mode.recompute.unseen)))
        buffer.clear()
        started = time.perf_counter()
        prepared = finish(library.prepare(prompt))
        placed = [_scaled(one, mode.key_scale) for one in prepared.placed]
        buffer.bring(placed, prepared.plan.num_fresh)
        logits = prefill(self.model.transformer, buffer, *fresh_tokens(prepared.plan))
        seconds, plan = time.perf_counter() - started, prepared.plan
        return _Prefilled(logits, plan.next_position, len(plan.selected()), plan.num_fresh, seconds)

    def _full(self, item: Item) -> _Prefilled:
        library = Library(self.teacher, layout="packed", store=self._store)
        library.add_schema(self.task.form.schema(item))
        prompt = self.task.form.prompt(item)
        started = time.perf_counter()
        plan = library.full_plan(prompt)
        logits = full_prefill(self.teacher.transformer, plan, self._buffers[FULL])
        seconds, tokens = time.perf_counter() - started, len(plan.selected())
        return _Prefilled(logits, tokens, tokens, tokens, seconds)

    def _likelihood(self, mode: str, found: _Prefilled, item: Item) -> float:
        tokens = self.model.tokenizer.encode(f" {item.answers[0]}")
        place = (self._buffers[mode], found.position)
        model = self._model(mode).transformer
        return float(log_likelihoods(model, *place, found.logits, tokens).mean())

    def _decode(self, found: dict[str, _Prefilled]) -> list[tuple[int, ...]]:
        """The greedy answers' tokens, all modes of a model in one forward a token."""
        answers = {
            name: Answer(
                self._model(name),
                self._buffers[name],
                each.position,
                max_tokens=self.task.max_tokens,
                stop=self.task.stop,
            )
            for name, each in found.items()
        }
        for name, each in found.items():
            answers[name].take(each.logits)
        for model in {self.teacher, self.model}:
            own = [answer for name, answer in answers.items() if self._model(name) is model]
            while open_ := [answer for answer in own if answer.finish_reason is None]:
                logits = advance(model.transformer, open_)
                for answer, row in zip(open_, logits, strict=True):
                    answer.take(row)
        return [tuple(answer.tokens) for answer in answers.values()]

    def _text(self, tokens: Sequence[int]) -> str:
        text = self.model.tokenizer.decode(list(tokens))
        ends = [at for stop in self.task.stop if (at := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))].strip()


def divergence(full: Tensor, cached: Tensor) -> float:
    """Kullback-Leibler, in nats: of the next token by `cached` from the next token by `full`."""
    p, q = (logits.double().log_softmax(-1) for logits in (full, cached))
    return max(0.0, float((p.exp() * (p - q)).sum()))


def log_likelihoods(
    model: Transformer, cache: KVCache, position: int, logits: Tensor, tokens: Sequence[int]
) -> Tensor:
    """log p (n,) of each of `tokens` as what follows `cache`, whose last token gave `logits`.

    The first stands at `position`; the cache holds afterwards what it held before.
    """
    rows, before = [logits[None]], cache.num_slots
    if given := tokens[:-1]:
        ids = torch.tensor(given, device=model.device)
        at = torch.arange(position, position + len(given), device=model.device)
        plan = ForwardPlan([Run(cache, len(given))], range(len(given)))
        rows.append(model(ids, at, plan))
        cache.truncate(before)
    wanted = torch.tensor(tokens, device=model.device)[:, None]
    return torch.cat(rows).double().log_softmax(-1).gather(1, wanted)[:, 0]


def _scaled(placed: Placed, by: float) -> Placed:
    """With keys `by` times as long, so that scores over them are `by` times as large."""
    if by == 1.0:
        return placed
    segment = placed.segment
    block = segment.block.clone()
    block[:, 0] *= by
    return replace(placed, segment=KVSegment(block, segment.offsets, segment.origin))
