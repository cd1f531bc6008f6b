"""Facts about invented people in short documents, and questions about one document or two.

    documents   About Belmir. Belmir is working in Korda. Belmir is number 41.
                About Tasol. Tasol is number 17. Tasol is working in Fenik.
                Number 17 lives in Ruven. Number 41 lives in Pelos.
    one         Where is Belmir working?    Korda
    linked      Where is Belmir living?     Pelos

The documents of numbers name nobody: who lives in Pelos is told by an earlier document, to whoever
sees it while reading. All names are drawn anew for every sample, so nothing can be known
beforehand. Some names are held out: training never draws them, and the questions of an evaluation
are made of them alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal
from zlib import crc32

Kind = Literal["one", "linked"]
KINDS: tuple[Kind, ...] = ("one", "linked")

HEADS = ["".join(letters) for letters in product("BDFGKMNPTV", "aeiou", "lr")]
TAILS = ["".join(letters) for letters in product("bfgkvz", "aeiou", "dnst")]
NUMBERS = range(10, 60)
HELD_OUT = 10
"""One name of so many is held out."""

FACTS = {
    "study": ("{} studies in {}.", "Where does {} study?"),
    "home": ("{} lives in {}.", "Where does {} live?"),
    "work": ("{} works in {}.", "Where does {} work?"),
}


@dataclass(frozen=True)
class Question:
    """`needed` are the documents that it takes, by index."""

    kind: Kind
    text: str
    answer: str
    needed: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    documents: tuple[str, ...]
    questions: tuple[Question, ...]


def is_held_out(name: str) -> bool:
    return crc32(name.encode()) % HELD_OUT == 0


def samples(
    seed: int, size: int, *, own: int = 2, linked: int = 1, held_out: bool = False
) -> Iterator[Sample]:
    """Endlessly many samples about `size` people, the same ones for the same seed.

    The same is told of everyone, so that only who is asked for tells the answer: `own` facts by
    name, `linked` ones by number.
    """
    chance = random.Random(seed)
    while True:
        facts = chance.sample([*FACTS], own + linked)
        yield _sample(chance, _names(chance, held_out), size, facts[:own], facts[own:])


def _sample(
    chance: random.Random,
    names: Iterator[str],
    size: int,
    own: Sequence[str],
    linked: Sequence[str],
) -> Sample:
    people = [next(names) for _ in range(size)]
    numbers = chance.sample(NUMBERS, size)
    documents, questions = [], []
    for index, (name, number) in enumerate(zip(people, numbers, strict=True)):
        sentences = [f"{name} is number {number}."] if linked else []
        for fact in own:
            place = next(names)
            sentences.append(FACTS[fact][0].format(name, place))
            questions.append(_question("one", fact, name, place, index))
        chance.shuffle(sentences)
        documents.append(" ".join([f"About {name}.", *sentences]))
    for indices in _pairs(chance, size) if linked else ():
        sentences = []
        for index, fact in product(indices, linked):
            place = next(names)
            sentences.append(FACTS[fact][0].format(f"Number {numbers[index]}", place))
            questions.append(_question("linked", fact, people[index], place, index, len(documents)))
        documents.append(" ".join(sentences))
    chance.shuffle(questions)
    return Sample(tuple(documents), tuple(questions))


def _question(kind: Kind, fact: str, name: str, place: str, *needed: int) -> Question:
    return Question(kind, FACTS[fact][1].format(name), place, needed)


def _pairs(chance: random.Random, size: int) -> Iterator[Sequence[int]]:
    """The numbers up to `size` in random order, by twos."""
    order = chance.sample(range(size), size)
    return (order[at : at + 2] for at in range(0, size, 2))


def _names(chance: random.Random, held_out: bool) -> Iterator[str]:
    """Names without a syllable in common."""
    tails = chance.sample(TAILS, len(TAILS))
    for head in chance.sample(HEADS, len(HEADS)):
        for tail in tails:
            if is_held_out(head + tail) == held_out:
                tails.remove(tail)
                yield head + tail
                break
