"""The small part of Python that conditions, loops and arguments may use, and what it gives.

Names, literals, displays, comparisons, `and`, `or`, `not`, `x[key]`, `x.name`, and calls of
`len`, `range` and `enumerate`. What an expression means is what it means in Python; whatever else
could run code of its own (a call, an operator on user objects other than comparing) is not in it.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

FUNCTIONS: Mapping[str, object] = MappingProxyType(
    {"len": len, "range": range, "enumerate": enumerate}
)
"""What may be called, where a file gives these names no other meaning."""

FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What evaluating an expression raises on values that it does not fit."""

_DEEPEST = 100
_ALLOWED = (
    *(ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Set, ast.Dict),
    *(ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Subscript, ast.Attribute, ast.Call),
)
_EXPECTED = (
    "expected names, literals, comparisons, and, or, not, in, len(); work it out before the call"
)
_CALLED = {
    ast.Dict: "** in a dict",
    ast.Call: "a call",
    ast.Lambda: "a lambda",
    ast.BinOp: "arithmetic",
    ast.IfExp: "a conditional expression",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred expression",
    ast.Slice: "a slice",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), "a comprehension"),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, items: operator.contains(items, item),
    ast.NotIn: lambda item, items: not operator.contains(items, item),
}
_UNARY: dict[type[ast.unaryop], Callable[..., object]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def outside(node: ast.expr, known: Mapping[str, object]) -> tuple[ast.expr, str] | None:
    """The first part of the expression that is none of the above, and what is wrong with it.

    `known` are the names that stand for a value already, those of `FUNCTIONS` among them.
    """
    if _is_deep(node):
        return node, f"an expression nested more than {_DEEPEST} deep; make it flatter"
    for inner in _expressions(node):
        fits = isinstance(inner, _ALLOWED)
        if isinstance(inner, ast.Call):
            fits = isinstance(inner.func, ast.Name) and _is_function(inner.func.id, known)
            fits = fits and all(keyword.arg for keyword in inner.keywords)
        elif isinstance(inner, ast.UnaryOp):
            fits = type(inner.op) in _UNARY
        elif isinstance(inner, ast.Dict):
            fits = None not in inner.keys
        elif isinstance(inner, ast.Attribute) and inner.attr.startswith("_"):
            return inner, f"the private attribute {inner.attr!r}; expected a public one"
        elif isinstance(inner, ast.Compare) and _is_by_chance(inner):
            return inner, "'is' with other than None, True or False; compare with =="
        if not fits:
            return inner, f"{_CALLED.get(type(inner), 'an operator')} in an expression; {_EXPECTED}"
    return None


def _is_deep(node: ast.AST) -> bool:
    level = [node]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in ast.iter_child_nodes(parent)]
    return bool(level)


def _is_by_chance(node: ast.Compare) -> bool:
    """Whether an `is` asks which texts or numbers are one object, which Python leaves open."""
    return any(
        isinstance(op, ast.Is | ast.IsNot)
        and not (isinstance(right, ast.Constant) and isinstance(right.value, bool | None))
        for op, right in zip(node.ops, node.comparators, strict=True)
    )


def _is_function(name: str, known: Mapping[str, object]) -> bool:
    return name in FUNCTIONS and known.get(name) is FUNCTIONS[name]


def constant(node: ast.expr, known: Mapping[str, object]) -> tuple[object] | None:
    """The value of an expression over `known` names only, alone in a tuple; None for any other."""
    if outside(node, known) or any(name.id not in known for name in names_in(node)):
        return None
    try:
        return (evaluate(node, known),)
    except FAILURES:
        return None


def names_in(node: ast.expr) -> list[ast.Name]:
    return [inner for inner in _expressions(node) if isinstance(inner, ast.Name)]


def _expressions(node: ast.expr) -> Iterator[ast.expr]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.expr))


def evaluate(node: ast.expr, values: Mapping[str, object]) -> object:
    """What an expression that is not `outside` gives, as Python itself would.

    >>> tree = ast.parse("not abroad and city in ('Rome', 'Oslo')", mode="eval")
    >>> evaluate(tree.body, {"abroad": False, "city": "Oslo"})
    True
    """
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return values[node.id]
        case ast.Tuple():
            return tuple(evaluate(item, values) for item in node.elts)
        case ast.List():
            return [evaluate(item, values) for item in node.elts]
        case ast.Set():
            return {evaluate(item, values) for item in node.elts}
        case ast.UnaryOp():
            return _UNARY[type(node.op)](evaluate(node.operand, values))
        case ast.BoolOp():
            return _either(node, values)
        case ast.Compare():
            return _compared(node, values)
        case _:
            return _looked_up(node, values)


def _looked_up(node: ast.expr, values: Mapping[str, object]) -> object:
    match node:
        case ast.Dict():
            keys = [evaluate(key, values) for key in node.keys if key]
            return dict(zip(keys, (evaluate(item, values) for item in node.values), strict=True))
        case ast.Subscript():
            items: Any = evaluate(node.value, values)
            return items[evaluate(node.slice, values)]
        case ast.Attribute():
            return getattr(evaluate(node.value, values), node.attr)
        case _:
            assert isinstance(node, ast.Call)
            function: Any = evaluate(node.func, values)
            named = {str(word.arg): evaluate(word.value, values) for word in node.keywords}
            return function(*(evaluate(argument, values) for argument in node.args), **named)


def _either(node: ast.BoolOp, values: Mapping[str, object]) -> object:
    """`and` and `or` stop where Python stops, and give the operand that it gives."""
    found: object = None
    for operand in node.values:
        found = evaluate(operand, values)
        if bool(found) == isinstance(node.op, ast.Or):
            break
    return found


def _compared(node: ast.Compare, values: Mapping[str, object]) -> object:
    left = evaluate(node.left, values)
    found: object = True
    for comparison, operand in zip(node.ops, node.comparators, strict=True):
        right = evaluate(operand, values)
        found = _COMPARISONS[type(comparison)](left, right)
        if not found:
            break
        left = right
    return found
