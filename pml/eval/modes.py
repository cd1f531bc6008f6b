"""The ways to bring an item's documents before a model.

full            full prefill, no reuse: what all others are compared with
fast balanced exact     the qualities of `PromptCache`
isolated        each document saw nothing but itself (the paper)
fixed           as `fast`, in the layout `fixed`: what is left out stays a gap
joint           documents saw all before them in the schema (the paper's public code)
scaffold        all documents encoded together
first-16        `fast`, and the first 16 tokens of each document computed again
values-30       `fast`, and the 30 % of tokens whose values deviate most; so keys-30, both-30
attended-40     `fast`, and the documents most attended to, about 40 % of all cached tokens
cooler-90       `fast`, with all cached keys at 90 % of their length (APE's temperature)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import cast

from pml.nodes import ContextName, LayoutName
from pml.quality import QUALITIES
from pml.recompute import NOTHING, Deviation, Recompute

FULL = "full"


@dataclass(frozen=True)
class Mode:
    name: str
    recompute: Recompute = NOTHING
    attention: ContextName = "guaranteed"
    layout: LayoutName = "packed"
    scaffolded: bool = False
    key_scale: float = 1.0


PLAIN = (
    Mode(FULL),
    Mode("isolated", attention="isolated"),
    Mode("fixed", layout="fixed"),
    Mode("joint", attention="joint", layout="fixed"),
    Mode("scaffold", scaffolded=True),
    *(Mode(name, recompute) for name, recompute in QUALITIES.items()),
)
LEVERS = ("first", "values", "keys", "both", "attended", "cooler")


def mode(name: str) -> Mode:
    """Raises `ValueError` for a name that means no mode."""
    for plain in PLAIN:
        if plain.name == name:
            return plain
    found = Mode(name)
    for part in name.split("+"):
        match = re.fullmatch(rf"({'|'.join(LEVERS)})-(\d+)", part)
        if match is None:
            known = ", ".join([*(plain.name for plain in PLAIN), *(f"{x}-N" for x in LEVERS)])
            raise ValueError(f"mode is {name!r}, expected one of {known}, or levers joined by +")
        found = _with(found, match[1], int(match[2]))
    return found


def _with(mode: Mode, lever: str, number: int) -> Mode:
    """`mode` and one more lever."""
    share, again = number / 100, mode.recompute
    if lever == "cooler":
        return replace(mode, key_scale=share)
    if lever == "first":
        return replace(mode, recompute=replace(again, first=number))
    if lever == "attended":
        return replace(mode, recompute=replace(again, attended=share))
    kind = cast(Deviation, lever)
    return replace(mode, recompute=replace(again, deviating=share, deviation=kind))
