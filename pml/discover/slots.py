"""Sentences that differ in short spans become one text with slots.

Sentences are grouped by their words from the left. A group whose members share most of their text
is a template: the words that nearly all of them hold, with `SLOT` for what stands between. A group
that shares too little is divided by its next word.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from pml.discover.flat import SLOT

LONGEST_VALUE = 80
"""Characters of a span that may become an argument."""
_LONGEST_SENTENCE = 400
_MOST_SENTENCES = 20_000
"""So many are looked at, evenly spread; a template that they do not show is rare."""
_SAMPLE = 100
_DEEPEST = 12
_MOST_SLOTS = 4
_LEAST_SHARED = 0.7
_NEARLY_ALL, _MOST = 0.95, 0.9

_WORD = re.compile(r"\w+|\s+|[^\w\s]")

Words = list[str]


def templates(sentences: Iterable[str], least: int) -> list[str]:
    """Texts with slots, each of which at least `least` of the sentences fit."""
    fitting = [text for text in sentences if 12 < len(text) <= _LONGEST_SENTENCE]
    step = max(1, len(fitting) // _MOST_SENTENCES)
    groups = [(0, [_WORD.findall(text) for text in fitting[::step]])]
    found: list[str] = []
    while groups:
        depth, group = groups.pop()
        if depth:
            template = _template(group[:: max(1, len(group) // _SAMPLE)])
            if template:
                rest = [words for words in group if values(template, "".join(words)) is None]
                if len(group) - len(rest) >= least:
                    found.append(template)
                    group = rest
        by_word: defaultdict[str, list[Words]] = defaultdict(list)
        for words in group:
            by_word[words[depth] if depth < len(words) else ""].append(words)
        for word, divided in by_word.items():
            if word and len(divided) >= least and depth < _DEEPEST:
                groups.append((depth + 1, divided))
    return found


def values(template: str, text: str) -> list[str] | None:
    """What stands in the slots if the text is the template's, each value the shortest possible.

    >>> values("Dear \\x05, your \\x05 is here.", "Dear Ann, your book is here.")
    ['Ann', 'book']
    """
    first, *literals = template.split(SLOT)
    if not text.startswith(first):
        return None
    found, start = [], len(first)
    for literal in literals[:-1]:
        stop = text.find(literal, start, start + LONGEST_VALUE + len(literal))
        if stop < 0:
            return None
        found.append(text[start:stop])
        start = stop + len(literal)
    stop = len(text) - len(literals[-1])
    if not text.endswith(literals[-1]) or not start <= stop <= start + LONGEST_VALUE:
        return None
    found.append(text[start:stop])
    return None if any("\n" in value for value in found) else found


def _template(group: Sequence[Words]) -> str | None:
    """The words that nearly all of the group hold, slots between, if they are most of the text."""
    held = Counter(word for words in group for word in set(words))
    base = group[0]
    parts: list[str | None] = []
    for word in base:
        if held[word] < _NEARLY_ALL * len(group):
            parts.append(None)
        elif parts and parts[-1] is not None:
            parts[-1] += word
        else:
            parts.append(word)
    last = len(parts) - 1
    texts = [
        part if part and (index in (0, last) or re.search(r"\w", part)) else SLOT
        for index, part in enumerate(parts)
    ]
    template = re.sub(f"{SLOT}+", SLOT, "".join(texts))
    slots = template.count(SLOT)
    if not 0 < slots <= _MOST_SLOTS or template.startswith(SLOT):
        return None
    fitting = [text for text in map("".join, group) if values(template, text) is not None]
    enough = len(fitting) >= _MOST * len(group)
    shared = len(fitting) * (len(template) - slots) >= _LEAST_SHARED * sum(map(len, fitting))
    return template if enough and shared else None
