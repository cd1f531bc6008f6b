"""Pieces tried on a log: where each is found, which are worth keeping, what their slots hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from pml.discover.atoms import Ints, held_by
from pml.discover.flat import SLOT
from pml.discover.patterns import Count, Finder, Pattern
from pml.nodes import PromptParameter

LONGEST_ARGUMENT = 40
"""Tokens, as far as is known before the values are."""
MOST_BYTES, MOST_MODULES = 6 << 20, 20_000
"""of a schema, as PML: within the default limits of `parse_schema`"""
_TAGS = 100
"""Bytes of a module's tags, about."""


@dataclass(frozen=True)
class Trial:
    """`pieces[modules[i]]` is the i-th that was found, in the prompt `prompts[i]`."""

    pieces: Sequence[str]
    modules: Ints
    prompts: Ints
    lengths: Sequence[tuple[int, ...]]
    """of the longest value in each slot of each piece, in tokens"""
    only_first: bool
    """no prompt has text of its own before a piece"""

    def kept(self, least: int) -> Trial:
        """The pieces that `least` prompts hold, in the log's order; those that save most if they
        are too many."""
        count = len(self.pieces)
        uses = held_by(self.modules, self.prompts, count)
        _, first = np.unique(self.modules, return_index=True)
        sizes = np.array([_TAGS + len(escape(p).encode()) for p in self.pieces], dtype=np.int64)
        best = np.argsort(-uses * sizes, kind="stable")
        best = best[uses[best] >= least][:MOST_MODULES]
        fits = np.zeros(count, dtype=np.bool_)
        fits[best] = np.cumsum(sizes[best]) <= MOST_BYTES
        order = self.modules[np.sort(first)]
        order = order[fits[order]]
        number = np.full(count, -1)
        number[order] = np.arange(len(order))
        modules = number[self.modules]
        chosen = order.tolist()
        return Trial(
            [self.pieces[i] for i in chosen],
            modules[modules >= 0],
            self.prompts[modules >= 0],
            [self.lengths[i] for i in chosen],
            self.only_first and len(modules) == int((modules >= 0).sum()),
        )


def tried(pieces: Sequence[str], prompts: Sequence[str], count: Count) -> Trial:
    """Find the pieces in the flat prompts, in any order."""
    finder = Finder(
        [
            Pattern(str(i), piece, (PromptParameter("", LONGEST_ARGUMENT),) * piece.count(SLOT), i)
            for i, piece in enumerate(pieces)
        ],
        count,
        packed=True,
    )
    modules: list[int] = []
    owners: list[int] = []
    values: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    only_first = True
    for owner, prompt in enumerate(prompts):
        own_text = False
        for found in finder.pieces(prompt):
            if isinstance(found, str):
                own_text = True
                continue
            only_first = only_first and not own_text
            modules.append(found.pattern.order)
            owners.append(owner)
            for slot, value in enumerate(found.values):
                values[found.pattern.order, slot].add(value)
    lengths = [
        tuple(max(map(count, values[i, slot]), default=0) for slot in range(piece.count(SLOT)))
        for i, piece in enumerate(pieces)
    ]
    return Trial(
        pieces, np.array(modules, np.int64), np.array(owners, np.int64), lengths, only_first
    )
