"""From a log to a schema: shared pieces become modules, alternatives unions, slots parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

import numpy as np

from pml.discover.atoms import Ints
from pml.discover.flat import CLOSE, ROLE_OF, SLOT, nodes
from pml.discover.names import Names
from pml.discover.patterns import Count
from pml.discover.pieces import shared_pieces
from pml.discover.tokens import estimated_tokens
from pml.discover.trial import Trial, tried
from pml.discover.unions import alternatives
from pml.nodes import (
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
)

SLACK = 1.5
"""A parameter is so many times as long as the longest argument in the log."""


def propose(
    prompts: Sequence[str],
    *,
    name: str = "log",
    least_uses: int = 5,
    least_tokens: int = 16,
    count: Count = estimated_tokens,
) -> Schema:
    """A schema for flat prompts, in n·log n of their characters.

    A module is used by at least `least_uses` of them, and has `least_tokens` tokens or more. The
    layout is fixed if all prompts hold the modules in one order, new text last, and packed if not.
    """
    pieces = [piece for piece in shared_pieces(prompts, least_uses) if count(piece) >= least_tokens]
    trial = tried(pieces, prompts, count).kept(least_uses)
    classes = alternatives(trial.modules, trial.prompts, len(trial.pieces))
    order = _one_order(classes, trial) if _can_be_fixed(classes, trial, prompts) else None
    names = Names()
    members: dict[int, list[PromptModule]] = {}
    for one, piece, lengths in zip(classes.tolist(), trial.pieces, trial.lengths, strict=True):
        members.setdefault(one, []).append(_module(piece, lengths, names))
    children = tuple(
        PromptUnion(tuple(members[one])) if len(members[one]) > 1 else members[one][0]
        for one in (members if order is None else order)
    )
    return Schema(name, "packed" if order is None else None, children=children)


def _can_be_fixed(classes: Ints, trial: Trial, prompts: Sequence[str]) -> bool:
    """Whether new text comes last, and the whole schema is not far longer than a prompt."""
    longest: dict[int, int] = {}
    for one, piece in zip(classes.tolist(), trial.pieces, strict=True):
        longest[one] = max(longest.get(one, 0), len(piece))
    return trial.only_first and sum(longest.values()) <= 2 * max(map(len, prompts), default=0)


def _one_order(classes: Ints, trial: Trial) -> list[int] | None:
    """The classes in an order that all prompts keep, first found first; None if there is none."""
    place = classes[trial.modules]
    pairs = np.stack([place[:-1], place[1:]])[:, trial.prompts[:-1] == trial.prompts[1:]]
    after: dict[int, list[int]] = {one: [] for one in np.unique(classes).tolist()}
    waiting = dict.fromkeys(after, 0)
    for before, one in np.unique(pairs, axis=1).T.tolist():
        after[before].append(one)
        waiting[one] += 1
    free = [one for one, number in waiting.items() if not number]
    heapify(free)
    order = []
    while free:
        order.append(heappop(free))
        for one in after[order[-1]]:
            waiting[one] -= 1
            if not waiting[one]:
                heappush(free, one)
    return order if len(order) == len(after) else None


def _module(piece: str, lengths: Sequence[int], names: Names) -> PromptModule:
    slots = Names()
    parameters = (
        PromptParameter(slots.of(_last_word(before), "value"), math.ceil(SLACK * length) + 2)
        for before, length in zip(piece.split(SLOT), lengths, strict=False)
    )
    return PromptModule(names.of(piece), children=tuple(_children(nodes(piece), parameters)))


def _children(pieces: Iterator[str], parameters: Iterator[PromptParameter]) -> Iterator[SchemaNode]:
    """What stands up to the end of the pieces or of the role that they are in."""
    for piece in pieces:
        if piece in ROLE_OF:
            yield PromptRole(ROLE_OF[piece], tuple(_children(pieces, parameters)))
        elif piece == CLOSE:
            return
        else:
            yield next(parameters) if piece == SLOT else PromptText(piece)


def _last_word(text: str) -> str:
    """The last word of some length, which often says what follows."""
    return next((word for word in reversed(text.split()[-4:]) if len(word) > 3), "")
