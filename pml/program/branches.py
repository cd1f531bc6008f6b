"""`if` and `match` as one thing: branches, each a condition and the statements under it."""

import ast
from dataclasses import dataclass

from pml.program.expressions import constant
from pml.program.source import Node, ProgramFile


@dataclass(frozen=True)
class Branch:
    """`condition` is None for what is taken when no other is."""

    condition: ast.expr | None
    body: list[ast.stmt]
    node: Node


def branches_of_if(node: ast.If) -> list[Branch]:
    """An `if` with its `elif`s and `else`."""
    found = [Branch(node.test, node.body, node)]
    rest = node.orelse
    while rest:
        match rest:
            case [ast.If() as inner]:
                found.append(Branch(inner.test, inner.body, inner))
                rest = inner.orelse
            case _:
                found.append(Branch(None, rest, rest[0]))
                rest = []
    return found


def branches_of_match(node: ast.Match, file: ProgramFile) -> list[Branch]:
    """A `match` as the comparisons that Python makes for it.

    Raises PMLProgramError for a pattern that is neither a literal, nor literals in an or, nor `_`.
    """
    found: list[Branch] = []
    for case in node.cases:
        if found and found[-1].condition is None:
            message = "a case after 'case _', which takes everything; put 'case _' last"
            raise file.error(message, case.pattern)
        condition = _condition(node.subject, case.pattern, file)
        if case.guard is not None:
            condition = case.guard if condition is None else _both(condition, case.guard)
        found.append(Branch(condition, case.body, case.pattern))
    return found


def _both(condition: ast.expr, guard: ast.expr) -> ast.expr:
    return ast.copy_location(ast.BoolOp(ast.And(), [condition, guard]), condition)


def _condition(subject: ast.expr, pattern: ast.pattern, file: ProgramFile) -> ast.expr | None:
    """None if the pattern takes everything."""
    match pattern:
        case ast.MatchAs(pattern=None, name=None):
            return None
        case ast.MatchSingleton():
            value = ast.Constant(pattern.value)
            condition: ast.expr = ast.Compare(subject, [ast.Is()], [value])
        case ast.MatchValue() if constant(pattern.value, {}):
            condition = ast.Compare(subject, [ast.Eq()], [pattern.value])
        case ast.MatchOr():
            parts = [_condition(subject, part, file) for part in pattern.patterns]
            if None in parts:
                return None
            condition = ast.BoolOp(ast.Or(), [part for part in parts if part])
        case _:
            message = f"the pattern {ast.unparse(pattern)!r}"
            advice = "expected a literal, literals joined by |, or _; compare with == in an if"
            raise file.error(f"{message}; {advice}", pattern)
    # Synthetic nodes stand where the pattern stands.
    for part in ast.walk(condition):
        if not hasattr(part, "lineno"):
            ast.copy_location(part, pattern)
    return condition
