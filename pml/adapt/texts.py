"""What an adapter is trained on: documents, and texts behind them that take reading the documents.

Two kinds, neither labelled by anyone: records of invented things, with questions and recitations;
and prose cut into passages, with what follows them and what stood in them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pml.adapt.records import KINDS, Draw

INSTRUCTIONS = (
    "Here are some texts, and a question about them.\n",
    "Read the following carefully.\n",
    "You are given several documents.\n",
    "These are notes. Answer from them.\n",
    "Use only what is written below.\n\n",
)
ASKED = (
    "Question: {asked}\nAnswer: {lead} {value}.",
    "Question: {asked} Answer: {lead} {value}.",
    "Q: {asked}\nA: {value}.",
    "{asked}\n{lead} {value}.",
    "{lead} {value}.",
)

LEAST_WORDS = 3000
"""Of prose: a tenth of it, which is held out, must hold the longest sample."""


@dataclass(frozen=True)
class Sample:
    """Each of `continuations` follows the documents, and knows nothing of the others."""

    instruction: str
    documents: tuple[str, ...]
    continuations: tuple[str, ...]


def sample(chance: random.Random, prose: Sequence[str]) -> Sample:
    """Of records or, a third of all, of prose, if there are words of any."""
    if prose and chance.random() < 1 / 3:
        return _of_prose(chance, prose)
    return _of_records(chance)


def _of_records(chance: random.Random) -> Sample:
    kind, count = chance.choice(KINDS), chance.randint(2, 5)
    facts = chance.sample(kind.facts, chance.randint(2, 4))
    names = [*_different(kind.name, count, chance)]
    values = [[*_different(fact.value, count, chance)] for fact in facts]
    named, numbered = chance.random() < 0.6, chance.random() < 0.5
    documents, asked = [], []
    for number, name in enumerate(names):
        told = []
        for at, fact in enumerate(facts):
            value = values[at][number]
            subject = name if named or not at else kind.pronoun
            told.append(_capital(fact.told.format(subject, value)))
            parts = {"asked": fact.asked.format(name), "lead": _capital(fact.lead.format(name))}
            asked.append(chance.choice(ASKED).format(value=value, **parts))
        documents.append(" ".join(told))
    recited = chance.randrange(count)
    heading = f"Document {recited + 1}" if numbered else f"About {names[recited]}"
    if numbered:
        documents = [f"Document {n}: {text}" for n, text in enumerate(documents, start=1)]
    recital = f"{heading}: {documents[recited].removeprefix(f'{heading}: ')}"
    continuations = chance.sample(asked, 4)
    return _put_together(chance, documents, [*continuations, recital])


def _different(draw: Draw, count: int, chance: random.Random) -> Iterator[str]:
    found: set[str] = set()
    while len(found) < count:
        if (new := draw(chance)) not in found:
            found.add(new)
            yield new


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of_prose(chance: random.Random, prose: Sequence[str]) -> Sample:
    """Passages one behind the other, and what follows them; or from anywhere."""
    sizes = [chance.randint(20, 60) for _ in range(chance.randint(2, 4))]
    if chance.random() < 0.5:
        *passages, following = _passages(chance, prose, [*sizes, 45])
        continuations = [following]
    else:
        passages = [_passages(chance, prose, [size])[0] for size in sizes]
        continuations = []
    recited, quoted = (passage.split(" ") for passage in chance.sample(passages, 2))
    begins, goes_on = " ".join(recited[:5]), " ".join(recited[5:40])
    start = chance.randrange(max(1, len(quoted) - 20))
    return _put_together(
        chance,
        passages,
        [
            *continuations,
            f'The text that begins with "{begins}" goes on: {goes_on}',
            f'As the text says: "{" ".join(quoted[start : start + 25])}"',
        ],
    )


def _passages(chance: random.Random, prose: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Passages of so many words, one behind the other."""
    start, found = chance.randrange(len(prose) - sum(sizes) + 1), []
    for size in sizes:
        found.append(" ".join(prose[start : start + size]))
        start += size
    return found


def _put_together(
    chance: random.Random, documents: Sequence[str], continuations: Sequence[str]
) -> Sample:
    separator = chance.choice(("\n", "\n", "\n\n"))
    texts = tuple(text + separator for text in documents)
    return Sample(chance.choice(INSTRUCTIONS), texts, tuple(continuations))
