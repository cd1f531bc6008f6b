"""A log cut into atoms, the smallest parts that modules are made of, each a number.

Lines first: most shared text is shared by the line. A line that fewer than `least` prompts hold is
cut into sentences, which may be shared though the line is not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LONG = 40
"""Characters of a sentence that is worth cutting lines for, if several hold it."""

_LINE = re.compile(r"[\x01-\x04]|[^\n\x01-\x04]+\n(?!\n)|[^\n\x01-\x04]+|\n+")
ATOM = re.compile(
    r"""[\x01-\x04] | \n+
    | (?: [^\n\x01-\x04.!?:;\u3002\uff01\uff1f]++ | [.!?:;](?!["')\]]*+[ \t]++\S) )*+
      (?: [.!?:;]["')\]]*+[ \t]++ | [\u3002\uff01\uff1f]++ | \n(?!\n) )?""",
    re.VERBOSE,
)
"""A sentence, a heading with its colon, a line: where a module may begin and end."""


@dataclass(frozen=True)
class Sequences:
    """All prompts of a log, one after another, as numbers of texts.

    `numbers[i]` is that of the i-th text and `prompts[i]` the prompt that it stands in.
    """

    texts: Sequence[str]
    numbers: Ints
    prompts: Ints

    def uses(self) -> Ints:
        """How many prompts hold each text."""
        return held_by(self.numbers, self.prompts, len(self.texts))

    def recut(self, parts: Sequence[Sequence[str] | None]) -> Sequences:
        """With each text replaced by its parts, `parts[number]`; None keeps it whole."""
        number: defaultdict[str, int] = defaultdict()
        number.default_factory = number.__len__
        recut = [
            [number[part] for part in ((text,) if cut is None else cut)]
            for text, cut in zip(self.texts, parts, strict=True)
        ]
        sizes = np.array([len(one) for one in recut], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        flat = np.array([part for one in recut for part in one], dtype=np.int64)
        lengths = sizes[self.numbers]
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        numbers = flat[np.repeat(starts[self.numbers], lengths) + within]
        return Sequences(list(number), numbers, np.repeat(self.prompts, lengths))


def held_by(numbers: Ints, prompts: Ints, count: int) -> Ints:
    """In how many prompts each of `count` numbers is, `numbers[i]` being in `prompts[i]`.

    By sorting: of millions of numbers the hash table in `np.unique` takes fifty times as long.
    """
    pairs = np.sort(prompts * count + numbers)
    new = np.concatenate([[True], pairs[1:] != pairs[:-1]])[: len(pairs)]
    return np.bincount(pairs[new] % max(1, count), minlength=count)


def lines_of(prompts: Iterable[str]) -> Sequences:
    """Flat prompts as lines; a line break belongs to its line, several are a text of their own."""
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    numbers, sizes = [], []
    for prompt in prompts:
        found = list(map(number.__getitem__, _LINE.findall(prompt)))
        numbers.append(np.array(found, dtype=np.int64))
        sizes.append(len(found))
    joined = np.concatenate(numbers) if numbers else np.zeros(0, dtype=np.int64)
    return Sequences(list(number), joined, np.repeat(np.arange(len(sizes)), sizes))


def atoms_of(prompts: Iterable[str], least: int) -> Sequences:
    """Flat prompts as lines, and as sentences where a line is not in `least` prompts or shares a
    long sentence with another."""
    lines = lines_of(prompts)
    rare = (lines.uses() < least).tolist()
    sentences = [cut(line) for line in lines.texts]
    held = Counter(part for parts in sentences for part in set(parts) if len(part) > LONG)
    return lines.recut(
        [
            parts if rare[line] or any(held[part] > 1 for part in parts) else None
            for line, parts in enumerate(sentences)
        ]
    )


def cut(text: str) -> list[str]:
    r"""The atoms of a text.

    >>> cut("1. Be brief. (Why?) Now:\nGo!\n\n")
    ['1. ', 'Be brief. ', '(Why?) ', 'Now:\n', 'Go!', '\n\n']
    """
    return [atom for atom in ATOM.findall(text) if atom]
