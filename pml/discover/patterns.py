"""Finding a schema's modules in flat prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pml.discover.atoms import ATOM
from pml.discover.ends import end_of
from pml.discover.flat import CLOSE, MARKS, OPEN, SLOT, nodes
from pml.discover.prefixes import PrefixIndex
from pml.errors import PMLError
from pml.nodes import (
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
    own_nodes,
)

Count = Callable[[str], int]
"""How many tokens a text has."""

_LONGEST_TOKEN = 12
"""Characters: a slot of n tokens is looked through for n times as many."""
_ENDS = ("", "\n", *MARKS)


@dataclass(frozen=True)
class Pattern:
    """What a module says, with a `SLOT` for each parameter, and its place in the schema."""

    name: str
    flat: str
    parameters: tuple[PromptParameter, ...] = ()
    order: int = 0
    union: int | None = None

    @cached_property
    def literals(self) -> tuple[str, ...]:
        """The text before, between and after the slots."""
        return tuple(self.flat.split(SLOT))

    def filled(self, arguments: Iterable[str]) -> str:
        """The flat text with the arguments in place."""
        given = zip(arguments, self.literals[1:], strict=True)
        return self.literals[0] + "".join(value + literal for value, literal in given)


class Found(NamedTuple):
    """A module's text in a prompt, up to `stop`, and what stands in its slots."""

    pattern: Pattern
    values: tuple[str, ...]
    stop: int

    def better_than(self, other: Found) -> bool:
        """Longer, or as long and with less of it computed anew."""
        return (self.stop, -len(self.values)) > (other.stop, -len(other.values))


def patterns_of(schema: Schema) -> list[Pattern]:
    """The modules of the root that say something, their own text only.

    Raises PMLError for a schema that puts something into every prompt.
    """
    found: list[Pattern] = []
    for order, node in enumerate(schema.children):
        if isinstance(node, PromptUnion) and not node.required:
            modules, union = node.members, order
        elif isinstance(node, PromptModule) and node.name is not None:
            modules, union = (node,), None
        else:
            message = f"schema {schema.name!r} puts something into every prompt"
            advice = "rewriting takes one of named modules, and of unions that are not required"
            raise PMLError(f"{message}; {advice}", node.at, code="discover")
        for module in modules:
            own = own_nodes(module)
            parameters = tuple(node for node in own if isinstance(node, PromptParameter))
            pattern = Pattern(str(module.name), _said(module), parameters, order, union)
            if pattern.literals[0]:
                found.append(pattern)
    return found


def _said(owner: PromptModule | PromptRole[SchemaNode]) -> str:
    pieces = []
    for child in owner.children:
        match child:
            case PromptText():
                pieces.append(child.text)
            case PromptRole():
                pieces.append(OPEN[child.role] + _said(child) + CLOSE)
            case PromptParameter():
                pieces.append(SLOT)
            case PromptModule(name=None):
                pieces.append(_said(child))
    return "".join(pieces)


class Finder:
    """Finds modules in flat prompts; `count` tells whether an argument fits its slot.

    Not `packed`: modules are taken in the schema's order and before any text that is of no module,
    so that the fixed layout has room for it. Of a union one member is taken. The end of a
    prompt is in no module.
    """

    def __init__(self, patterns: Sequence[Pattern], count: Count, *, packed: bool) -> None:
        self.count = count
        self.packed = packed
        self._index = PrefixIndex((pattern.literals[0], pattern) for pattern in patterns)

    def pieces(self, flat: str) -> Iterator[str | Found]:
        """The prompt as modules, texts between them, and marks of roles, each alone."""
        chosen: dict[int, str] = {}
        start = position = 0
        last: float = -1
        end = end_of(flat)
        while position < end:
            found = self._longest(flat, position, end, chosen, last)
            if found is None:
                atom = ATOM.match(flat, position)
                assert atom is not None
                position = atom.end()
                last = last if self.packed else float("inf")
                continue
            if start < position:
                yield from nodes(flat[start:position])
            yield found
            start = position = found.stop
            pattern = found.pattern
            last = last if self.packed else pattern.order
            if pattern.union is not None:
                chosen[pattern.union] = pattern.name
        yield from nodes(flat[start:])

    def _longest(
        self, flat: str, start: int, end: int, chosen: dict[int, str], last: float
    ) -> Found | None:
        best: Found | None = None
        for pattern in self._index.at(flat, start):
            rival = chosen.get(pattern.union) if pattern.union is not None else None
            if pattern.order > last and rival in (None, pattern.name):
                found = self._match(pattern, flat, start)
                if found is None or found.stop > end:
                    continue
                best = found if best is None or found.better_than(best) else best
        return best

    def _match(self, pattern: Pattern, flat: str, start: int) -> Found | None:
        """The module at `start`, where its first literal stands; each value the shortest."""
        first, *literals = pattern.literals
        position = start + len(first)
        if not literals:
            return Found(pattern, (), position)
        values = []
        for literal, parameter in zip(literals, pattern.parameters, strict=True):
            furthest = position + _LONGEST_TOKEN * parameter.length
            if literal:
                stop = flat.find(literal, position, furthest + len(literal))
            else:
                ends = (at for at in range(position, furthest) if flat[at : at + 1] in _ENDS)
                stop = next(ends, -1)
            value = flat[position : max(stop, position)]
            if stop < 0 or any(end in value for end in _ENDS[1:]):
                return None
            if self.count(value) > parameter.length:
                return None
            values.append(value)
            position = stop + len(literal)
        return Found(pattern, tuple(values), position)
