"""Facts about invented people in short documents, and questions about one document or two.

    documents   About Belmir. Belmir was born in Korda. The friend of Belmir is Tasol. Belmir has
                seen Ruven, Pelos and Dimar.
                About Tasol. Tasol lives in Fenik. Tasol has seen Dimar and Golet.
    one         Where was Belmir born?                   Korda
    hop         Where does the friend of Belmir live?    Fenik
    both        What have Belmir and Tasol both seen?    Dimar

`hop` goes through two documents one after the other; what is true of `both` stands in neither. All
names are drawn anew for every sample, so nothing can be known beforehand. Some names are held out:
training never draws them, and the questions of an evaluation are made of them alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal
from zlib import crc32

Kind = Literal["one", "hop", "both"]
KINDS: tuple[Kind, ...] = ("one", "hop", "both")

HEADS = ["".join(letters) for letters in product("BDFGKMNPTV", "aeiou", "lr")]
TAILS = ["".join(letters) for letters in product("bfgkvz", "aeiou", "dnst")]
HELD_OUT = 10
"""One name of so many is held out."""

FACTS = {
    "born": ("{} was born in {}.", "Where was {} born?"),
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
    seed: int, size: int, *, plain: bool = False, held_out: bool = False
) -> Iterator[Sample]:
    """Endlessly many samples of `size` documents, the same ones for the same seed.

    The same is told of everyone, so that only who is asked for tells the answer. Plain documents
    have one sentence.
    """
    chance = random.Random(seed)
    while True:
        names = _names(chance, held_out)
        people = [_Person(next(names)) for _ in range(size)]
        _settle(people, chance, names, chance.sample([*FACTS], 1 if plain else 2))
        if not plain:
            _travel(people, chance, names)
            _befriend(people, chance)
        questions = [question for person in people for question in person.questions]
        chance.shuffle(questions)
        documents = tuple(person.document(chance) for person in people)
        yield Sample(documents, tuple(questions))


@dataclass
class _Person:
    name: str
    facts: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def document(self, chance: random.Random) -> str:
        chance.shuffle(self.sentences)
        return " ".join([f"About {self.name}.", *self.sentences])


def _names(chance: random.Random, held_out: bool) -> Iterator[str]:
    """Names without a syllable in common."""
    tails = chance.sample(TAILS, len(TAILS))
    for head in chance.sample(HEADS, len(HEADS)):
        for tail in tails:
            if is_held_out(head + tail) == held_out:
                tails.remove(tail)
                yield head + tail
                break


def _settle(
    people: Sequence[_Person], chance: random.Random, names: Iterator[str], facts: Sequence[str]
) -> None:
    """`facts` are told of everyone."""
    for index, person in enumerate(people):
        for fact in facts:
            statement, question = FACTS[fact]
            place = person.facts[fact] = next(names)
            person.sentences.append(statement.format(person.name, place))
            text = question.format(person.name)
            person.questions.append(Question("one", text, place, (index,)))


def _travel(people: Sequence[_Person], chance: random.Random, names: Iterator[str]) -> None:
    """Everyone has seen two places of their own, and by twos they have seen a third one."""
    seen = [[next(names), next(names)] for _ in people]
    order = chance.sample(range(len(people)), len(people))
    for pair in zip(order[::2], order[1::2], strict=False):
        place = next(names)
        for index in pair:
            seen[index].insert(chance.randint(0, 2), place)
        first, second = (people[index] for index in pair)
        text = f"What have {first.name} and {second.name} both seen?"
        first.questions.append(Question("both", text, place, pair))
    for person, (*most, last) in zip(people, seen, strict=True):
        person.sentences.append(f"{person.name} has seen {', '.join(most)} and {last}.")


def _befriend(people: Sequence[_Person], chance: random.Random) -> None:
    for index, person in enumerate(people):
        friend = chance.choice([other for other in range(len(people)) if other != index])
        person.sentences.append(f"The friend of {person.name} is {people[friend].name}.")
        fact, place = chance.choice([*people[friend].facts.items()])
        text = FACTS[fact][1].format(f"the friend of {person.name}")
        person.questions.append(Question("hop", text, place, (index, friend)))
