"""A checkpoint's card: what `pml gate` found out about reuse with it, kept beside its weights.

{"version": 1, "name": "smollm2-135m-instruct", "model": fingerprint, "tokenizer": fingerprint,
 "dtype": "float32", "versions": {"pml": "0.1.0", …}, "task": "records", "questions": 20,
 "laws": [{"law": "a scaffold of all is full prefill", "difference": 2e-07, "limit": 0.0001}, …],
 "answers": [{"mode": "fast", "score": 0.2, "agreement": 0.35, "kl": 0.38, …}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as parts_of
from pathlib import Path
from typing import Any, TypeVar

from minillm.checkpoint import LoadedModel
from minillm.errors import LoadError
from minillm.json_file import fields, read_json

CARD_FILE, VERSION = "card.json", 1

T = TypeVar("T", "Law", "Answers")


@dataclass(frozen=True)
class Law:
    """`difference` is the largest that was seen, as a part of the logits' range."""

    law: str
    difference: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.limit  # NaN is above any limit


@dataclass(frozen=True)
class Answers:
    """Means over the questions, as `pml eval` has them."""

    mode: str
    score: float
    agreement: float
    kl: float
    log_likelihood: float
    computed: float


@dataclass(frozen=True)
class Card:
    name: str
    model: str
    tokenizer: str
    dtype: str
    versions: Mapping[str, str]
    task: str
    questions: int
    laws: tuple[Law, ...]
    answers: tuple[Answers, ...]

    def line(self) -> str:
        """What it says, in short."""
        broken = [law.law for law in self.laws if not law.holds]
        laws = f"NOT so: {'; '.join(broken)}" if broken else f"{len(self.laws)} laws hold"
        agreements = ", ".join(
            f"{found.agreement:.0%} {found.mode}" for found in self.answers if found.mode != "full"
        )
        return (
            f"card: {laws}; of {self.questions} answers ({self.task}) as full prefill's: "
            f"{agreements}"
        )

    def as_json(self) -> dict[str, Any]:
        return {"version": VERSION} | asdict(self)


def save_card(card: Card, folder: Path) -> Path:
    path = folder / CARD_FILE
    path.write_text(json.dumps(card.as_json(), indent=1) + "\n", encoding="utf-8")
    return path


def card_of(model: LoadedModel) -> Card | None:
    """The card beside a model, if there is one. Raises `LoadError` for a file that is no card of
    this version, or is one of other weights."""
    if model.folder is None or not (path := model.folder / CARD_FILE).exists():
        return None
    try:
        card = _read(read_json(path))
    except ValueError as error:
        raise LoadError(f"{path}: {error}; pml gate makes a new one") from None
    if (card.model, card.tokenizer) != (model.fingerprint, model.tokenizer.fingerprint):
        raise LoadError(
            f"{path}: is of other weights or another tokenizer; pml gate makes a new one"
        )
    return card


def _read(content: object) -> Card:
    top = fields(content, {field.name for field in parts_of(Card)} | {"version"}, "the card")
    if top.pop("version") != VERSION:
        raise ValueError(f"its version is another than {VERSION}")
    laws, answers = _all(Law, top.pop("laws")), _all(Answers, top.pop("answers"))
    found: dict[str, Any] = top
    return Card(laws=laws, answers=answers, **found)


def _all(kind: type[T], found: object) -> tuple[T, ...]:
    if not isinstance(found, list):
        raise ValueError("the card's laws and answers are lists")
    names = {field.name for field in parts_of(kind)}
    parts: list[dict[str, Any]] = [fields(one, names, f"one of {kind.__name__}") for one in found]
    numbers = [
        value for part in parts for name, value in part.items() if name not in ("law", "mode")
    ]
    if not all(isinstance(number, float | int) for number in numbers):
        raise ValueError("the card's figures are numbers")
    return tuple(kind(**part) for part in parts)
