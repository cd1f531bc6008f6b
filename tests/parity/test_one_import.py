"""A prompt that imports one module under `guaranteed` is answered as by full prefill (law 13), on
the real model: 50 questions, each about one paragraph, greedy and in float32."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pytest
from torch import Tensor

from minillm import LoadedModel
from pml import PromptCache
from pml.compare import FullPrefill

pytestmark = pytest.mark.parity

QUESTIONS = Path(__file__).parent / "xquad_en" / "questions.jsonl"
SYSTEM = "Answer the question about this text in a few words."
MAX_TOKENS = 32
SINGLE = 1e-4
"""The largest difference of two logits, as a part of their range."""


@dataclass(frozen=True)
class Question:
    paragraph: str
    question: str
    answers: tuple[str, ...]

    def is_answered_by(self, text: str) -> bool:
        return any(answer.lower() in text.lower() for answer in self.answers)


def questions() -> list[Question]:
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    entries = map(json.loads, lines)
    return [Question(e["paragraph"], e["question"], tuple(e["answers"])) for e in entries]


FORMS = {
    "fixed": ("<system>{}</system><union>{}</union>", "<user>{}</user>"),
    "packed": ("<system>{}\n<union>{}</union></system>", "{}"),
}
"""A schema's form and a module's, in which nothing stands behind a gap: the layout `fixed` puts
what follows a union behind its longest member."""


def schema(asked: list[Question], layout: str) -> str:
    whole, each = FORMS[layout]
    modules = (
        f'<module name="q{n}">{each.format(escape(question.paragraph))}</module>'
        for n, question in enumerate(asked)
    )
    return f'<schema name="xquad">{whole.format(SYSTEM, "".join(modules))}</schema>'


def divergence(full: Tensor, cached: Tensor) -> float:
    """Kullback-Leibler, in nats: of the next token by `cached` from the next token by `full`."""
    p, q = (logits.double().log_softmax(-1) for logits in (full, cached))
    return float((p.exp() * (p - q)).sum())


@dataclass(frozen=True)
class Row:
    """One question: how far the first token's logits are from full prefill's, and both answers."""

    reused: int
    computed: int
    difference: float
    spread: float
    divergence: float
    same: bool
    right: tuple[bool, bool]

    def __str__(self) -> str:
        numbers = f"{self.reused:6d}  {self.computed:8d}  {self.difference:7.1e}"
        numbers += f"  {self.difference / self.spread:7.1e}  {self.divergence:7.1e}"
        return f"{numbers}  {'same' if self.same else 'OTHER':<6}"


def compared(cache: PromptCache, full: FullPrefill, number: int, question: Question) -> Row:
    text = f"<q{number}/><user>{escape(question.question)}</user>"
    prefilled = cache.prefill(f'<prompt schema="xquad">{text}</prompt>')
    plan, cached = prefilled.plan, prefilled.logits
    expected = full.prefill(plan)
    expected_answer = full.answer(plan, expected, MAX_TOKENS)
    deltas = cache.decode(prefilled, max_tokens=MAX_TOKENS)
    answer = tuple(delta.token for delta in deltas if delta.token is not None)
    decode = cache.model.tokenizer.decode
    return Row(
        plan.num_cached,
        plan.num_fresh,
        float((cached - expected).abs().max()),
        float(expected.max() - expected.min()),
        divergence(expected, cached),
        answer == expected_answer,
        (question.is_answered_by(decode(answer)), question.is_answered_by(decode(expected_answer))),
    )


def summary(rows: list[Row]) -> str:
    worst = max(rows, key=lambda row: row.difference)
    return (
        f"{len(rows)} questions: {sum(row.same for row in rows)} answers the same; largest |Δ| "
        f"{worst.difference:.1e} in a range of {worst.spread:.0f}; largest KL "
        f"{max(row.divergence for row in rows):.1e}; answers with the right words "
        f"{sum(row.right[0] for row in rows)}, by full prefill {sum(row.right[1] for row in rows)}"
    )


@pytest.mark.parametrize("layout", FORMS)
def test_one_imported_module_is_full_prefill(ours: LoadedModel, layout: str) -> None:
    asked = questions()
    cache, full = PromptCache(ours, layout=layout, attention="guaranteed"), FullPrefill(ours)
    cache.add_schema(schema(asked, layout))
    rows: list[Row] = []
    print(f"\n{layout}\nreused  computed  max |Δ|  ÷ range  KL, nats  answer  question")
    for number, question in enumerate(asked):
        rows.append(compared(cache, full, number, question))
        print(rows[-1], question.question[:60], flush=True)
    print(summary(rows))
    assert len(rows) == 50
    assert all(row.reused > row.computed for row in rows)
    assert max(row.difference / row.spread for row in rows) <= SINGLE
    assert all(row.same for row in rows)
