"""Readable names for modules: what a condition says, in words that fit a tag.

if abroad                  abroad               else   not-abroad
if place == "city"         place-city           else   place-else
case "coast" | "island"    place-coast-or-island
if level >= 3              level-at-least-3
"""

import ast
import re
from collections.abc import Mapping, Sequence

_LONGEST = 48
_WORDS: dict[type[ast.cmpop], str] = {
    ast.Eq: "is",
    ast.Is: "is",
    ast.In: "in",
    ast.NotEq: "not",
    ast.IsNot: "not",
    ast.NotIn: "not-in",
    ast.Lt: "below",
    ast.LtE: "at-most",
    ast.Gt: "above",
    ast.GtE: "at-least",
}
_DISPLAYS = (ast.Tuple, ast.List, ast.Set)
Known = Mapping[str, object]


def branch_names(conditions: Sequence[ast.expr | None], known: Known) -> list[str]:
    """A name for each branch of an `if` or `match`; the condition of an `else` is None."""
    given = [condition for condition in conditions if condition is not None]
    return [
        _tag(_else_words(given, known) if condition is None else words(condition, known))
        for condition in conditions
    ]


def _tag(text: str) -> str:
    """The words as a tag's name."""
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition("-")[0] or text[:_LONGEST]
    text = text.strip("-.") or "branch"
    return text if text[0].isalpha() or text[0] == "_" else f"if-{text}"


def _else_words(conditions: Sequence[ast.expr], known: Known) -> str:
    subjects = {subject(condition) for condition in conditions}
    first = next(iter(subjects))
    if len(subjects) == 1 and first is not None:
        return f"{first}-else"
    if len(conditions) == 1:
        return words(ast.UnaryOp(ast.Not(), conditions[0]), known)
    return "else"


def subject(condition: ast.expr) -> str | None:
    """The name that a condition, or each part of an `or`, compares with something."""
    match condition:
        case ast.BoolOp(op=ast.Or(), values=parts):
            subjects = {subject(part) for part in parts}
            return subjects.pop() if len(subjects) == 1 else None
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq() | ast.Is()]):
            return name
        case ast.Compare(left=ast.Name(id=name), ops=[ast.In()], comparators=[display]):
            return name if isinstance(display, _DISPLAYS) else None
    return None


def words(node: ast.expr, known: Known) -> str:
    match node:
        case ast.Name(id=name):
            value = known.get(name)
            return _slug(value) if isinstance(value, str | int | float) else name
        case ast.Constant():
            return _slug(node.value)
        case ast.UnaryOp(op=ast.Not(), operand=ast.UnaryOp(op=ast.Not(), operand=inner)):
            return words(inner, known)
        case ast.UnaryOp():
            sign = {ast.Not: "not-", ast.USub: "minus-"}.get(type(node.op), "")
            return sign + words(node.operand, known)
        case ast.BoolOp(values=parts):
            joint = "-or-" if isinstance(node.op, ast.Or) else "-and-"
            return _shared(subject(node), joint, [words(part, known) for part in parts])
        case ast.Compare():
            return _comparison(node, known)
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return "-or-".join(words(item, known) for item in items)
        case _:
            return _slug(ast.unparse(node))


def _shared(name: str | None, joint: str, parts: list[str]) -> str:
    """The parts joined, with a name that all of them start with said once."""
    if name is None:
        return joint.join(parts)
    return f"{name}-" + joint.join(part.removeprefix(f"{name}-") for part in parts)


def _comparison(node: ast.Compare, known: Known) -> str:
    said = [words(node.left, known)]
    for op, right in zip(node.ops, node.comparators, strict=True):
        plain = isinstance(op, ast.Eq | ast.Is) and not isinstance(right, ast.Name)
        among = isinstance(op, ast.In) and isinstance(right, _DISPLAYS)
        said += ["" if plain or among else _WORDS[type(op)], words(right, known)]
    return "-".join(filter(None, said))


def _slug(value: object) -> str:
    """
    >>> _slug("New York, NY"), _slug(None), _slug(1.5), _slug("")
    ('New-York-NY', 'none', '1.5', 'empty')
    """
    text = value if isinstance(value, str) else str(value).lower()
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "empty"
