"""Atoms that always stand together become one piece.

Rounds over all pairs of neighbours, counted by sorting. A pair is merged if either side nearly
always has the other beside it, or if that holds for one side only and the other is short: a
heading before many texts, a separator after them. A round merges a share of all pairs that can be,
so that the rounds grow with the logarithm of a piece's length, and the whole as n·log n.
"""

from __future__ import annotations

import numpy as np

from pml.discover.atoms import Ints, Sequences

NEARLY_ALWAYS = 0.9
SHORT_HEADING, SHORT_TAIL = 40, 80
"""Characters that may be doubled, in several modules, so that each is whole."""
MOST_ROUNDS = 64


def merged(sequences: Sequences, least: int) -> Sequences:
    """The same prompts with pairs merged that occur together at least `least` times."""
    for _ in range(MOST_ROUNDS):
        pairs = _pairs_to_merge(sequences, least)
        if not len(pairs):
            break
        sequences = _replaced(sequences, pairs)
    return sequences


def _keys(sequences: Sequences) -> Ints:
    """A number for each pair of neighbours, and -1 where a prompt ends or a text repeats."""
    numbers, prompts = sequences.numbers, sequences.prompts
    first, second = numbers[:-1], numbers[1:]
    inside = (prompts[:-1] == prompts[1:]) & (first != second)
    return np.where(inside, first * len(sequences.texts) + second, -1)


def _pairs_to_merge(sequences: Sequences, least: int) -> Ints:
    """Keys of pairs, no text being the first of one and the second of another."""
    keys = _keys(sequences)
    pairs, counts = np.unique(keys[keys >= 0], return_counts=True)
    often = counts >= least
    pairs, counts = pairs[often], counts[often]
    first, second = np.divmod(pairs, len(sequences.texts))
    total = np.bincount(sequences.numbers, minlength=len(sequences.texts))
    size = np.array([len(text) for text in sequences.texts], dtype=np.int64)
    blank = np.array([not text.strip() for text in sequences.texts], dtype=np.bool_)
    follows = counts >= NEARLY_ALWAYS * total[first]
    precedes = counts >= NEARLY_ALWAYS * total[second]
    kinds = [
        follows & precedes,
        precedes & (size[first] <= SHORT_HEADING) & ~blank[first],
        follows & (size[second] <= SHORT_TAIL),
    ]
    chosen: list[int] = []
    is_first: dict[int, bool] = {}
    for kind in kinds:
        for pair, a, b in zip(
            pairs[kind].tolist(), first[kind].tolist(), second[kind].tolist(), strict=True
        ):
            if is_first.get(a, True) and not is_first.get(b, False):
                is_first[a], is_first[b] = True, False
                chosen.append(pair)
    return np.unique(np.array(chosen, dtype=np.int64))


def _replaced(sequences: Sequences, pairs: Ints) -> Sequences:
    keys = _keys(sequences)
    at = np.searchsorted(pairs, keys).clip(max=len(pairs) - 1)
    hit = pairs[at] == keys
    size = len(sequences.texts)
    numbers = sequences.numbers.copy()
    numbers[:-1][hit] = size + at[hit]
    kept = np.concatenate([[True], ~hit])
    first, second = np.divmod(pairs, size)
    texts = list(sequences.texts)
    texts += [texts[a] + texts[b] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    return Sequences(texts, numbers[kept], sequences.prompts[kept])
