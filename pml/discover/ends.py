"""Where the end of a prompt begins: what no module may hold.

It is mostly the question. In a module it would be encoded without the text that it asks about.
"""

from __future__ import annotations

import re

from pml.discover.flat import CLOSE, MARKS

SHORT = 250
"""Characters."""

_PARAGRAPH = re.compile(rf".*(?:\n\s*\n|[{MARKS}])", re.DOTALL)
_SENTENCE = re.compile(rf""".*(?:[\n{MARKS}]|[.!?:;]["')\]]*[ \t]+)""", re.DOTALL)


def end_of(flat: str) -> int:
    """The place of the last paragraph or turn if it is short, else of its last sentence.

    >>> end_of("Rules.\\n\\nWhat is it?\\nAnswer:")
    8
    """
    stop = len(flat.removesuffix(CLOSE).rstrip())
    start = max(0, stop - SHORT)
    for pattern in (_PARAGRAPH, _SENTENCE):
        found = pattern.match(flat, start, stop)
        if found:
            return found.end()
    return start
