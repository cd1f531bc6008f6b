"""Which modules are alternatives: those of which a prompt can only hold one, by where they stand.

Modules are alternatives if the one before them is always the same, or one of the same
alternatives, and stands in a prompt at most once; likewise with the one after them. That no prompt
of the log holds two of them follows, it is no chance.
"""

from __future__ import annotations

import numpy as np

from pml.discover.atoms import Ints

MOST_ROUNDS = 16


def alternatives(modules: Ints, prompts: Ints, count: int) -> Ints:
    """A class for each of `count` modules: of the same class are alternatives of one another.

    `modules[i]` is the i-th import of the log, `prompts[i]` the prompt that it stands in.
    """
    classes = np.arange(count)
    for _ in range(MOST_ROUNDS):
        before = classes
        classes = _joined(classes, modules, prompts)
        classes = _joined(classes, modules[::-1], prompts[::-1])
        if np.array_equal(before, classes):
            break
    return classes


def _joined(classes: Ints, modules: Ints, prompts: Ints) -> Ints:
    """Modules that are still alone put together with those that always follow the same class."""
    count = len(classes)
    if not len(modules):
        return classes
    place = classes[modules]
    first = np.concatenate([[True], prompts[1:] != prompts[:-1]])
    before = np.where(first, count, np.concatenate([[0], place[:-1]]))
    lowest, highest = np.full(count, count + 1), np.full(count, -1)
    np.minimum.at(lowest, modules, before)
    np.maximum.at(highest, modules, before)
    once = np.ones(count + 1, dtype=np.bool_)
    pairs, times = np.unique(prompts * count + place, return_counts=True)
    once[(pairs % count)[times > 1]] = False
    alone = np.bincount(classes, minlength=count)[classes] == 1
    follows = alone & (lowest == highest) & once[np.clip(lowest, 0, count)]
    members = np.flatnonzero(follows)
    _, first, group = np.unique(lowest[members], return_index=True, return_inverse=True)
    joined = classes.copy()
    joined[members] = members[first][group]
    return joined
