"""The ways to bring an item's documents before a model.

full            full prefill, no reuse: what all others are compared with
fast balanced exact     the qualities of `PromptCache`
isolated        each document saw nothing but itself (the paper)
fixed           as `fast`, in the layout `fixed`: what is left out stays a gap
slots           as `fast`, the first two words of each document an argument
joint           documents saw all before them in the schema (the paper's public code)
scaffold        all documents encoded together
first-16        `fast`, and the first 16 tokens of each document computed again
values-30       `fast`, and the 30 % of tokens whose values deviate most; so keys-30, both-30
after-8         `slots`, and the first 8 tokens behind each argument computed again
attended-40     `fast`, and the documents most attended to, about 40 % of all cached tokens
read-30         `fast`, and the 30 % of tokens that the prompt's last token attends to most
sought-30       the same of what any of its last 32 tokens attends to
cooler-90       `fast`, with all cached keys at 90 % of their length (APE's temperature)

Levers are joined by a plus, and with `fixed`: `fixed+values-30`.
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
    slots: bool = False
    key_scale: float = 1.0


PLAIN = (
    Mode(FULL),
    Mode("isolated", attention="isolated"),
    Mode("fixed", layout="fixed"),
    Mode("slots", slots=True),
    Mode("joint", attention="joint", layout="fixed"),
    Mode("scaffold", scaffolded=True),
    *(Mode(name, recompute) for name, recompute in QUALITIES.items()),
)
LEVERS = ("first", "values", "keys", "both", "after", "attended", "read", "sought", "cooler")


def mode(name: str) -> Mode:
    """Raises `ValueError` for a name that means no mode."""
    for plain in PLAIN:
        if plain.name == name:
            return plain
    found = Mode(name)
    for part in name.split("+"):
        match = re.fullmatch(rf"({'|'.join(LEVERS)})-(\d+)", part)
        if match:
            found = _with(found, match[1], int(match[2]))
        elif part == "fixed":
            found = replace(found, layout="fixed")
        else:
            known = ", ".join([*(plain.name for plain in PLAIN), *(f"{x}-N" for x in LEVERS)])
            raise ValueError(f"mode is {name!r}, expected one of {known}, or levers joined by +")
    return found


def _with(mode: Mode, lever: str, number: int) -> Mode:
    """`mode` and one more lever."""
    share, again = number / 100, mode.recompute
    if lever == "cooler":
        return replace(mode, key_scale=share)
    if lever == "first":
        return replace(mode, recompute=replace(again, first=number))
    if lever == "after":
        return replace(mode, slots=True, recompute=replace(again, after_parameters=number))
    if lever == "attended":
        return replace(mode, recompute=replace(again, attended=share))
    if lever == "read":
        return replace(mode, recompute=replace(again, read=share))
    if lever == "sought":
        return replace(mode, recompute=replace(again, sought=share))
    kind = cast(Deviation, lever)
    return replace(mode, recompute=replace(again, deviating=share, deviation=kind))
