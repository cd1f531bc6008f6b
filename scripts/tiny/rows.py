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
from tiny.facts import Question, Sample

ANSWER, TEXT = 1.0, 0.1
"""What a token of an answer counts in the loss, and one of a document or of prose."""
ANSWER_TOKENS = 3
"""A name's two, and the one that ends the answer."""


@dataclass(frozen=True)
class Row:
    """`weights` are those of predicting each token; `owners` tell documents (1, 2, …) and questions
    (-1, -2, …) apart, BOS is 0. Documents of the same group see one another, in turn."""

    tokens: list[int]
    positions: list[int]
    weights: list[float]
    owners: list[int]
    groups: list[int]


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length: `targets` (N,) follow the tokens `places` (N,) of the flat batch,
    and count `weights` (N,)."""

    tokens: Tensor
    positions: Tensor
    sees: Tensor
    places: Tensor
    targets: Tensor
    weights: Tensor


def prompt(question: Question) -> str:
    return f"Question: {question.text} Answer:"


def fact_row(
    sample: Sample, tokenizer: Tokenizer, gaps: Sequence[int], groups: Sequence[int]
) -> Row:
    """`gaps` are the positions left free before each document, and before the questions; `groups`
    are those of the documents."""
    assert tokenizer.bos_id is not None
    row = Row([tokenizer.bos_id], [0], [0.0], [0], [-1])
    start = 1
    for number, text in enumerate(sample.documents, start=1):
        tokens = tokenizer.encode(text)
        start += gaps[number - 1]
        weights = [0.0] + [TEXT] * (len(tokens) - 1)
        _append(row, tokens, start, weights, number, groups[number - 1])
        start += len(tokens)
    start += gaps[-1]
    (end,) = tokenizer.stop_ids
    for number, question in enumerate(sample.questions, start=1):
        asked, answer = tokenizer.encode(prompt(question)), tokenizer.encode(f" {question.answer}")
        weights = [0.0] * len(asked) + [ANSWER] * (len(answer) + 1)
        _append(row, [*asked, *answer, end], start, weights, -number, -1)
    return row


def prose_row(tokens: Sequence[int], bos: int) -> Row:
    length = len(tokens)
    row = Row([bos], [0], [0.0], [0], [-1])
    _append(row, tokens, 1, [TEXT] * length, 1, 0)
    return row


def _append(
    row: Row, tokens: Sequence[int], start: int, weights: Sequence[float], owner: int, group: int
) -> None:
    row.tokens.extend(tokens)
    row.positions.extend(range(start, start + len(tokens)))
    row.weights.extend(weights)
    row.owners.extend([owner] * len(tokens))
    row.groups.extend([group] * len(tokens))


def batch(rows: Sequence[Row]) -> Batch:
    length = max(len(row.tokens) for row in rows)
    shape = len(rows), length
    tokens, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    owners, groups = np.zeros(shape, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    weights = np.zeros(shape, dtype=np.float32)
    for index, row in enumerate(rows):
        stop = len(row.tokens)
        tokens[index, :stop] = row.tokens
        positions[index, :stop] = row.positions
        owners[index, :stop] = row.owners
        groups[index, :stop] = row.groups
        weights[index, :stop] = row.weights
    q, k = owners[:, :, None], owners[:, None, :]
    same_group = groups[:, :, None] == groups[:, None, :]
    sees = (q == k) | (k == 0) | ((q > 0) & (k > 0) & same_group) | ((q < 0) & (k > 0))
    sees &= np.tri(length, dtype=bool)
    # A token is predicted by the one before it: what follows a document is another text.
    rows_at, at = np.nonzero(weights)
    return Batch(
        torch.from_numpy(tokens),
        torch.from_numpy(positions),
        torch.from_numpy(sees),
        torch.from_numpy(rows_at * length + at - 1),
        torch.from_numpy(tokens[rows_at, at]),
        torch.from_numpy(weights[rows_at, at]),
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
