"""A compiled program: one tree that gives both its schema and, for given arguments, its prompt.

text, slot        PromptText, PromptParameter                  nothing; an argument
turn              PromptRole                                   what it holds
choice            PromptModule, or PromptUnion of branches     the branch that Python would take
call              PromptModule                                 always an import
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias, cast

from pml.errors import Location, quoted
from pml.nodes import (
    Argument,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Role,
    SchemaNode,
)
from pml.program.expressions import FAILURES, evaluate
from pml.program.source import PMLProgramError

Values: TypeAlias = Mapping[str, object]
Pieces: TypeAlias = "tuple[PromptText | Slot | Turn | Choice | Call, ...]"
Piece: TypeAlias = "PromptText | Slot | Turn | Choice | Call"


@dataclass(frozen=True)
class Expression:
    """An expression with what is `known` of its names; the others are arguments of its function."""

    node: ast.expr
    known: Values
    at: Location

    def value(self, arguments: Values) -> object:
        """Raises PMLProgramError where the arguments do not fit it."""
        try:
            return evaluate(self.node, {**self.known, **arguments})
        except FAILURES as error:
            failure = f"{quoted(ast.unparse(self.node))} fails: {type(error).__name__}: {error}"
            raise PMLProgramError(failure, self.at) from None

    def is_true(self, arguments: Values) -> bool:
        return bool(self.value(arguments))


@dataclass(frozen=True)
class Slot:
    parameter: PromptParameter
    value: Expression

    def argument(self, arguments: Values) -> Argument:
        value = self.value.value(arguments)
        if not isinstance(value, str | int | float):
            found = f"{ast.unparse(self.value.node)!r} is {quoted(repr(value))} here"
            raise PMLProgramError(f"{found}; expected text or a number", self.value.at)
        return Argument(str(value), self.value.at)


@dataclass(frozen=True)
class Turn:
    role: Role
    pieces: Pieces
    at: Location


@dataclass(frozen=True)
class Member:
    """`condition` is None for an `else`. A branch without pieces is taken and adds nothing."""

    name: str
    condition: Expression | None
    pieces: Pieces
    at: Location

    def module(self) -> PromptModule:
        return PromptModule(self.name, children=nodes(self.pieces), at=self.at)


@dataclass(frozen=True)
class Choice:
    """What an `if` or `match` says: the first branch whose condition is true is taken."""

    branches: tuple[Member, ...]
    at: Location

    def node(self) -> PromptModule | PromptUnion:
        members = tuple(branch.module() for branch in self.branches if branch.pieces)
        if len(members) == 1:
            return members[0]
        always = self.branches[-1].condition is None and len(members) == len(self.branches)
        return PromptUnion(members, required=always, at=self.at)

    def taken(self, arguments: Values) -> Member | None:
        for branch in self.branches:
            if branch.condition is None or branch.condition.is_true(arguments):
                return branch if branch.pieces else None
        return None


@dataclass(frozen=True)
class Call:
    """A nested prompt function; `arguments` are its own, said in those of the caller."""

    name: str
    arguments: Mapping[str, Expression]
    pieces: Pieces
    at: Location


def joined(pieces: list[Piece]) -> Pieces:
    """The pieces with texts side by side as one: PML cannot tell them apart."""
    found: list[Piece] = []
    for is_text, run in groupby(pieces, lambda piece: isinstance(piece, PromptText)):
        if is_text:
            texts = cast(list[PromptText], list(run))
            found.append(replace(texts[0], text="".join(text.text for text in texts)))
        else:
            found += run
    return tuple(found)


def nodes(pieces: Pieces) -> tuple[SchemaNode, ...]:
    """What the pieces declare."""
    return tuple(_node(piece) for piece in pieces)


def _node(piece: Piece) -> SchemaNode:
    match piece:
        case Slot():
            return piece.parameter
        case Turn():
            return PromptRole(piece.role, nodes(piece.pieces), piece.at)
        case Choice():
            return piece.node()
        case Call():
            return PromptModule(piece.name, children=nodes(piece.pieces), at=piece.at)
        case _:
            return piece


def filled(pieces: Pieces, arguments: Values) -> tuple[dict[str, Argument], tuple[PromptNode, ...]]:
    """The arguments and the imports that select, in the owner's tag, what Python would render."""
    slots: dict[str, Argument] = {}
    imports: list[PromptNode] = []
    for piece in _flat(pieces):
        match piece:
            case Slot():
                slots[piece.parameter.name] = piece.argument(arguments)
            case Choice():
                branch = piece.taken(arguments)
                if branch is not None:
                    imports.append(_import(branch, arguments))
            case Call():
                inner = {name: given.value(arguments) for name, given in piece.arguments.items()}
                imports.append(_import(piece, inner))
    return slots, tuple(imports)


def _import(piece: Member | Call, arguments: Values) -> PromptImport:
    slots, children = filled(piece.pieces, arguments)
    return PromptImport(piece.name, slots, children, piece.at)


def _flat(pieces: Pieces) -> Iterator[PromptText | Slot | Choice | Call]:
    """The pieces with those of role tags in their place: a role tag is no owner."""
    for piece in pieces:
        if isinstance(piece, Turn):
            yield from _flat(piece.pieces)
        else:
            yield piece
