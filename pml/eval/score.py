"""How right an answer is, from 0 to 1: exact match, token F1, ROUGE-L.

Answers are compared as SQuAD does (Rajpurkar et al. 2016): lower case, without punctuation and
articles. Of several right answers the nearest counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

Score = Callable[[str, str], float]


def words(text: str) -> list[str]:
    """
    >>> words("The Eiffel Tower, 1889.")
    ['eiffel', 'tower', '1889']
    """
    plain = re.sub(r"[^\w\s]", "", text.lower())
    return [word for word in plain.split() if word not in ("a", "an", "the")]


def exact_match(answer: str, right: str) -> float:
    return float(words(answer) == words(right))


def token_f1(answer: str, right: str) -> float:
    """
    >>> token_f1("in the year 1901", "1901")
    0.5
    """
    given, wanted = words(answer), words(right)
    return _f1(sum((Counter(given) & Counter(wanted)).values()), given, wanted)


def rouge_l(answer: str, right: str) -> float:
    """F1 of the longest common subsequence (Lin 2004).

    >>> round(rouge_l("the cat sat down", "a cat lay down"), 3)
    0.667
    """
    given, wanted = words(answer), words(right)
    row = [0] * (len(wanted) + 1)
    for word in given:
        diagonal = 0
        for at, other in enumerate(wanted, start=1):
            longer = diagonal + 1 if word == other else max(row[at], row[at - 1])
            diagonal, row[at] = row[at], longer
    return _f1(row[-1], given, wanted)


def best(score: Score, answer: str, answers: Sequence[str]) -> float:
    return max(score(answer, right) for right in answers)


def _f1(common: int, given: Sequence[str], wanted: Sequence[str]) -> float:
    return 2 * common / (len(given) + len(wanted)) if common else 0.0
