"""The body of a prompt function into pieces: its statements are read one by one, none is run."""

import ast
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from types import EllipsisType
from typing import Any, cast, get_args

from pml.errors import quoted
from pml.markup import SCHEMA_LIMITS
from pml.nodes import PromptText, Role
from pml.program.branches import Branch, branches_of_if, branches_of_match
from pml.program.naming import branch_names
from pml.program.pieces import Call, Choice, Expression, Member, Piece, Pieces, Slot, Turn, joined
from pml.program.refused import refused, unknown_function
from pml.program.scope import Owner, Scope, claim
from pml.program.signature import bound, declared
from pml.program.source import Node, ProgramFile
from pml.program.texts import text_parts

MOST_STATEMENTS = 20_000
"""of a program, those of loops and nested functions counted each time"""

_MOST_DEPTH = SCHEMA_LIMITS.depth - 4


@dataclass(frozen=True)
class _Place:
    """Where statements stand, and the pieces that they have become so far."""

    scope: Scope
    owner: Owner
    calls: tuple[str, ...]
    turn: ast.With | None = None
    depth: int = 0
    pieces: list[Piece] = field(default_factory=list)


def compile_function(file: ProgramFile, name: str) -> tuple[inspect.Signature, Pieces]:
    """What the prompt function of this name takes and says.

    Raises PMLProgramError, at its place in the file, for what no schema can say.
    """
    try:
        return _Compiler(file).function(name)
    except RecursionError:
        message = f"{name!r} holds an expression that is nested too deeply; make it flatter"
        raise file.error(message, file.functions()[name]) from None


class _Compiler:
    """One method for each statement; each adds to the pieces of a place."""

    def __init__(self, file: ProgramFile) -> None:
        self.file = file
        self.functions = file.functions()
        self.statements = 0
        self.declared = cache(lambda name: declared(self.functions[name], file))
        self.text_parts = cache(lambda node: text_parts(node, file))

    def function(self, name: str) -> tuple[inspect.Signature, Pieces]:
        takes = self.declared(name)
        place = _Place(Scope.of(self.file, takes.slots, {}), Owner(), (name,))
        return takes.signature, self.body(self.functions[name].body, place)

    def body(self, statements: list[ast.stmt], place: _Place) -> Pieces:
        """The pieces of a place, once these statements are in it."""
        self.add(statements, place)
        return joined(place.pieces)

    def add(self, statements: list[ast.stmt], place: _Place) -> None:
        for statement in statements:
            self.count(statement)
            self.statement(statement, place)

    def count(self, node: Node) -> None:
        self.statements += 1
        if self.statements > MOST_STATEMENTS:
            message = f"the program unrolls to more than {MOST_STATEMENTS:,} statements"
            raise self.file.error(f"{message}; make its loops shorter", node)

    def inner(self, place: _Place, node: Node, tags: int, **changes: Any) -> _Place:
        """The place inside so many more tags."""
        if place.depth + tags > _MOST_DEPTH:
            raise self.file.error(f"nested in more than {_MOST_DEPTH} tags; make it flatter", node)
        return replace(place, depth=place.depth + tags, pieces=[], **changes)

    def statement(self, node: ast.stmt, place: _Place) -> None:
        match node:
            case ast.Expr(value=ast.JoinedStr() | ast.Constant(value=str()) as text):
                self.text(text, place)
            case ast.Expr(value=ast.Call() as call):
                self.call(call, place)
            case ast.If():
                self.choice(branches_of_if(node), node, place)
            case ast.Match():
                place.scope.expression(node.subject)
                self.choice(branches_of_match(node, self.file), node, place)
            case ast.For():
                self.loop(node, place)
            case ast.With():
                self.turn(node, place)
            case ast.Pass() | ast.Expr(value=ast.Constant(value=EllipsisType())):
                pass
            case _:
                raise refused(node, self.file)

    def text(self, node: ast.Constant | ast.JoinedStr, place: _Place) -> None:
        for part in self.text_parts(node):
            piece = part if isinstance(part, str) else self.filling(part, node, place)
            if isinstance(piece, Slot):
                place.pieces.append(piece)
            elif piece:
                place.pieces.append(PromptText(piece, self.file.at(node)))

    def filling(self, part: ast.expr, node: ast.expr, place: _Place) -> str | Slot:
        """What stands for the `{part}` of an f-string. Before Python 3.12 only that has a place."""
        scope = place.scope
        expression = scope.expression(part, node)
        if scope.is_known(part):
            value = expression.value({})
            if value is None or isinstance(value, str | int | float):
                return str(value)
            found = f"{ast.unparse(part)!r} is {quoted(repr(value))}"
            raise self.file.error(f"{found}; expected text or a number in a text", node)
        slot = scope.open.get(part.id) if isinstance(part, ast.Name) else None
        if slot is None:
            found = f"{ast.unparse(part)!r} in a text has no length"
            advice = (
                "annotate the argument: 'name: Annotated[str, Tokens(8)]' is a slot of 8 tokens"
            )
            raise self.file.error(f"{found}; {advice}", node)
        name = claim(slot.name, place.owner.parameters)
        return Slot(replace(slot, name=name, at=self.file.at(node)), expression)

    def choice(self, branches: list[Branch], node: ast.stmt, place: _Place) -> None:
        kept = list(self.possible(branches, place.scope))
        if kept and kept[0][0] is None:
            self.add(kept[0][1].body, place)
            return
        conditions = [None if condition is None else condition.node for condition, _ in kept]
        names = branch_names(conditions, place.scope.known)
        members = []
        for (condition, branch), name in zip(kept, names, strict=True):
            inside = self.inner(place, branch.node, 2, owner=Owner())
            pieces = self.body(branch.body, inside)
            name = claim(name, place.owner.modules) if pieces else name
            members.append(Member(name, condition, pieces, self.file.at(branch.node)))
        if any(member.pieces for member in members):
            place.pieces.append(Choice(tuple(members), self.file.at(node)))

    def possible(
        self, branches: list[Branch], scope: Scope
    ) -> Iterable[tuple[Expression | None, Branch]]:
        """The branches that some arguments lead to; what is known is decided here."""
        for branch in branches:
            test = branch.condition
            condition = None if test is None else scope.expression(test)
            if condition and scope.is_known(condition.node):
                if not condition.value({}):
                    continue
                condition = None
            yield condition, branch
            if condition is None:
                return

    def loop(self, node: ast.For, place: _Place) -> None:
        scope = place.scope
        if node.orelse:
            raise self.file.error("else of a for; write it behind the loop", node.orelse[0])
        items = scope.expression(node.iter)
        if not scope.is_known(node.iter):
            message = f"a loop over {ast.unparse(node.iter)!r}, which the arguments decide"
            advice = "expected a constant: literals, range(…), a name at module level"
            raise self.file.error(f"{message}; {advice}", node.iter)
        values: Any = items.value({})
        if not isinstance(values, Iterable):
            message = f"a loop over {quoted(repr(values))}; expected several values"
            raise self.file.error(message, node.iter)
        for value in values:
            self.count(node)
            inside = replace(scope, known={**scope.known, **scope.unpacked(node.target, value)})
            self.add(node.body, replace(place, scope=inside))

    def turn(self, node: ast.With, place: _Place) -> None:
        role = self.file.pml_name(node.items[0].context_expr)
        if len(node.items) > 1 or node.items[0].optional_vars or role not in get_args(Role):
            message = "a with that is no role; expected 'with system:', 'with user:' or"
            raise self.file.error(f"{message} 'with assistant:', from pml.program", node)
        if place.turn is not None:
            outer = f"the role of line {place.turn.lineno}"
            message = f"{role} inside {outer}: a role holds no role; close the outer first"
            raise self.file.error(message, node)
        inside = self.inner(place, node, 1, turn=node)
        pieces = self.body(node.body, inside)
        place.pieces.append(Turn(cast(Role, role), pieces, self.file.at(node)))

    def call(self, node: ast.Call, place: _Place) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in self.functions:
            others = [other for other in self.functions if other not in place.calls]
            raise unknown_function(node, others, self.file)
        if name in place.calls:
            circle = " → ".join((*place.calls[place.calls.index(name) :], name))
            raise self.file.error(f"{circle}: a prompt function cannot hold itself", node)
        takes = self.declared(name)
        known, given = {}, {}
        for argument, value in bound(node, takes.signature, self.file).items():
            if not isinstance(value, ast.expr):
                known[argument] = value
            elif (expression := place.scope.expression(value)) and place.scope.is_known(value):
                known[argument] = expression.value({})
            else:
                given[argument] = expression
        slots = {argument: takes.slots[argument] for argument in given}
        scope = Scope.of(self.file, slots, known)
        calls = (*place.calls, name)
        inside = self.inner(place, node, 1, scope=scope, owner=Owner(), calls=calls)
        tag = claim(name, place.owner.modules)
        pieces = self.body(self.functions[name].body, inside)
        place.pieces.append(Call(tag, given, pieces, self.file.at(node)))
