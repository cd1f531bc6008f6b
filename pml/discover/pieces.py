"""The pieces that the prompts of a log share: flat texts, some of them with slots."""

from __future__ import annotations

from collections.abc import Sequence

from pml.discover.atoms import Sequences, atoms_of
from pml.discover.ends import end_of
from pml.discover.flat import MARKS, SLOT, balanced
from pml.discover.merge import merged
from pml.discover.prefixes import PrefixIndex
from pml.discover.slots import templates, values

COMMON = 0.3
"""A text that this share of the prompts holds is shared as it is, and no instance of a template."""
MOST_SLOTS = 16
"""of one piece"""


def shared_pieces(prompts: Sequence[str], least: int) -> list[str]:
    """What at least `least` of the flat prompts hold before their end: whole turns, or text
    within one."""
    atoms = atoms_of((prompt[: end_of(prompt)] for prompt in prompts), least)
    pieces = _with_slots(merged(atoms, least), set(atoms.texts), least, COMMON * len(prompts))
    pieces = merged(pieces, least)
    shared = (pieces.uses() >= least).tolist()
    found = [balanced(text) for text, often in zip(pieces.texts, shared, strict=True) if often]
    unique = dict.fromkeys(piece for parts in found for piece in parts)
    return [piece for piece in unique if piece.count(SLOT) <= MOST_SLOTS and piece[0] != SLOT]


def _with_slots(pieces: Sequences, atoms: set[str], least: int, most: float) -> Sequences:
    """With atoms that fit a template as that template, roles' marks around them apart.

    What several atoms were merged to is shared as it is, and so is what `most` prompts hold.
    """
    chosen = pieces.uses() < max(least, most)
    alone = [
        (text, core)
        for text, choice in zip(pieces.texts, chosen.tolist(), strict=True)
        if choice and (core := text.strip(MARKS)) in atoms
    ]
    found = templates((core for _, core in alone), least)
    index = PrefixIndex((template.partition(SLOT)[0], template) for template in found)
    parts: dict[str, list[str]] = {}
    for text, core in alone:
        fitting = [template for template in index.at(core, 0) if values(template, core) is not None]
        if fitting:
            before, after = text.split(core, 1)
            parts[text] = [part for part in (before, max(fitting, key=len), after) if part]
    return pieces.recut([parts.get(text) for text in pieces.texts])
