"""Readable names for modules and parameters, from the words in them."""

from __future__ import annotations

import re

from pml.discover.flat import ROLE_OF
from pml.schema_reader import RESERVED

_WORD = re.compile(r"[a-z0-9]+")
_LONGEST = 32


class Names:
    """Names that are each given once.

    >>> names = Names()
    >>> [names.of("Be brief. "), names.of("Be brief!"), names.of("…", "text"), names.of("3 rules")]
    ['be_brief', 'be_brief_2', 'text', 'text_3_rules']
    """

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def of(self, text: str, otherwise: str = "text") -> str:
        """A name from the first words of the text; if it has none, `otherwise`."""
        role = ROLE_OF.get(text[:1])
        words = _WORD.findall(text[:200].lower())
        name = "_".join([role, *words[:4]] if role else words[:4])[:_LONGEST].rstrip("_")
        if not name[:1].isalpha():
            name = f"{otherwise}_{name}".rstrip("_")
        return self._unused(name)

    def _unused(self, name: str) -> str:
        number = self._given.get(name, 0) + 1
        self._given[name] = number
        if number == 1 and name not in RESERVED:
            return name
        return self._unused(f"{name}_{number + (name in RESERVED)}")
