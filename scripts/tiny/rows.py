"""Samples as rows of tokens: documents that are seen in turn or apart, and questions behind them.

    <s> document document document
                                    question answer </s>    each of them at the same positions,
                                    question answer </s>    seeing the documents and not one
                                    question answer </s>    another

A row so teaches many questions for the price of its documents.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minillm.tokenizer import Tokenizer
from tiny.facts import KINDS, Question, Sample

UNTOLD, TEXT, *ANSWERS = range(2 + len(KINDS))
"""Marks of tokens: not to be predicted, of a text, of an answer of each kind."""
WEIGHTS = torch.tensor([0.0, 0.1, 1.0, 1.0])
"""What a token counts in the loss, by its mark."""
NONE = 99
"""The document that is missed where none is: no row has so many."""
ANSWER_TOKENS = 3
"""A name's two, and the one that ends the answer."""


@dataclass(frozen=True)
class Row:
    """`marks` say what to predict; `owners` tell documents (1, 2, …) and questions (-1, -2, …)
    apart, BOS is 0. Documents of the same group see one another, in turn. A token does not see the
    document that it `misses`."""

    tokens: list[int]
    positions: list[int]
    marks: list[int]
    owners: list[int]
    groups: list[int]
    misses: list[int]


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length: `targets` (N,) follow the tokens `places` (N,) of the flat batch,
    and have the marks `marks` (N,)."""

    tokens: Tensor
    positions: Tensor
    sees: Tensor
    places: Tensor
    targets: Tensor
    marks: Tensor


def prompt(question: Question) -> str:
    return f"Question: {question.text} Answer:"


def fact_row(
    sample: Sample,
    tokenizer: Tokenizer,
    gaps: Sequence[int],
    groups: Sequence[int],
    missed: Sequence[int | None],
) -> Row:
    """`gaps` are the positions left free before each document, and before the questions; `groups`
    are those of the documents; `missed` is the document that each question does not see."""
    assert tokenizer.bos_id is not None
    row = Row([tokenizer.bos_id], [0], [UNTOLD], [0], [-1], [NONE])
    start = 1
    for number, text in enumerate(sample.documents):
        tokens = tokenizer.encode(text)
        start += gaps[number]
        marks = [UNTOLD] + [TEXT] * (len(tokens) - 1)
        _append(row, tokens, start, marks, number + 1, groups[number])
        start += len(tokens)
    start += gaps[-1]
    (end,) = tokenizer.stop_ids
    for number, (question, miss) in enumerate(zip(sample.questions, missed, strict=True), start=1):
        asked, answer = tokenizer.encode(prompt(question)), tokenizer.encode(f" {question.answer}")
        mark = ANSWERS[KINDS.index(question.kind)]
        marks = [UNTOLD] * len(asked) + [mark] * (len(answer) + 1)
        misses = NONE if miss is None else miss + 1
        _append(row, [*asked, *answer, end], start, marks, -number, -1, misses)
    return row


def prose_row(tokens: Sequence[int], bos: int) -> Row:
    length = len(tokens)
    row = Row([bos], [0], [UNTOLD], [0], [-1], [NONE])
    _append(row, tokens, 1, [TEXT] * length, 1, 0)
    return row


def _append(
    row: Row,
    tokens: Sequence[int],
    start: int,
    marks: Sequence[int],
    owner: int,
    group: int,
    misses: int = NONE,
) -> None:
    row.tokens.extend(tokens)
    row.positions.extend(range(start, start + len(tokens)))
    row.marks.extend(marks)
    row.owners.extend([owner] * len(tokens))
    row.groups.extend([group] * len(tokens))
    row.misses.extend([misses] * len(tokens))


def batch(rows: Sequence[Row]) -> Batch:
    length = max(len(row.tokens) for row in rows)

    def padded(field: str, fill: int = 0) -> np.ndarray:
        found = np.full((len(rows), length), fill, dtype=np.int64)
        for index, row in enumerate(rows):
            found[index, : len(row.tokens)] = getattr(row, field)
        return found

    tokens, owners, marks = padded("tokens"), padded("owners"), padded("marks", UNTOLD)
    groups, misses = padded("groups", -1), padded("misses", NONE)
    q, k = owners[:, :, None], owners[:, None, :]
    same_group = groups[:, :, None] == groups[:, None, :]
    sees = (q == k) | (k == 0) | ((q > 0) & (k > 0) & same_group) | ((q < 0) & (k > 0))
    sees &= (misses[:, :, None] != k) & np.tri(length, dtype=bool)
    # A token is predicted by the one before it: what follows a document is another text.
    rows_at, at = np.nonzero(marks != UNTOLD)
    return Batch(
        torch.from_numpy(tokens),
        torch.from_numpy(padded("positions")),
        torch.from_numpy(sees),
        torch.from_numpy(rows_at * length + at - 1),
        torch.from_numpy(tokens[rows_at, at]),
        torch.from_numpy(marks[rows_at, at]),
    )


def gaps(chance: random.Random, count: int) -> list[int]:
    """Half of the rows stand without gaps, the others with some of any size up to 512."""
    if chance.random() < 0.5:
        return [0] * count
    return [chance.choice((0, int(2 ** chance.uniform(0, 9)))) for _ in range(count)]


def groups(chance: random.Random, count: int) -> list[int]:
    """Documents that see one another: a quarter of the rows all, a quarter none, else by chance."""
    kind = chance.randrange(4)
    if kind < 2:
        return [0] * count if kind else list(range(count))
    return [chance.randrange(count) for _ in range(count)]


def missed(chance: random.Random, sample: Sample, groups: Sequence[int]) -> list[int | None]:
    """Every other linked question sees only the later of its documents, if that saw the other."""
    return [
        question.needed[0]
        if question.kind == "linked"
        and len({groups[needed] for needed in question.needed}) == 1
        and chance.random() < 0.5
        else None
        for question in sample.questions
    ]
