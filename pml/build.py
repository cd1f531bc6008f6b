"""Schemas and prompts built in Python, tag by tag as in PML; a text is a `str`.

    from pml.build import module, param, prompt, schema, system, union, use, user

    travel = schema("travel", system(
        "You plan journeys. ",
        module("trip", "It lasts ", param("duration", 6), ".", union(
            module("city", " To the city of ", param("name", 8), "."),
            module("coast", " To a quiet coast."),
            required=True,
        )),
    ))
    rome = prompt(travel,
        use("trip", use("city", name="Rome"), duration="a week"),
        user("Where do we start?"),
    )

`write_schema(travel)` and `write_prompt(rome)` are their PML. The rules are those of documents, and
an error is the same line, at the place in the Python file that made what is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from pml.check import check_prompt
from pml.elements import schema_element
from pml.errors import Location, raised
from pml.markup import SCHEMA_LIMITS
from pml.nodes import (
    Argument,
    ContextName,
    LayoutName,
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Role,
    Scaffold,
    Schema,
    SchemaNode,
)
from pml.schema_reader import SchemaReader

__all__ = [
    "assistant",
    "module",
    "param",
    "prompt",
    "scaffold",
    "schema",
    "system",
    "union",
    "use",
    "user",
]

Node = TypeVar("Node")
Declared: TypeAlias = "str | SchemaNode"
Asked: TypeAlias = "str | PromptNode"


def schema(
    name: str,
    *children: Declared | Scaffold,
    layout: LayoutName | None = None,
    attention: ContextName | None = None,
) -> Schema:
    """Raises PMLSyntaxError for what no document may say."""
    at = _caller()
    scaffolds = tuple(child for child in children if isinstance(child, Scaffold))
    declared = [child for child in children if not isinstance(child, Scaffold)]
    built = Schema(name, layout, attention, _nodes(declared, at), scaffolds, at)
    SchemaReader(SCHEMA_LIMITS, None, raised).schema(schema_element(built))
    return built


def module(name: str | None, *children: Declared, cache: bool = True) -> PromptModule:
    """`<module name cache>`; with None for its name it is anonymous."""
    at = _caller()
    return PromptModule(name, cache, _nodes(children, at), at)


def union(
    *members: PromptModule, required: bool = False, scaffold: str | None = None
) -> PromptUnion:
    """`<union scaffold required>`"""
    return PromptUnion(members, scaffold, required, _caller())


def param(name: str, length: int, default: str | None = None) -> PromptParameter:
    """A slot of `length` tokens."""
    return PromptParameter(name, length, default, at=_caller())


def scaffold(*modules: str) -> Scaffold:
    """`<scaffold modules>`"""
    return Scaffold(modules, _caller())


def system(*children: Any) -> PromptRole[Any]:
    """A turn, of a schema or of a prompt."""
    return _turn("system", children, _caller())


def user(*children: Any) -> PromptRole[Any]:
    """A turn, of a schema or of a prompt."""
    return _turn("user", children, _caller())


def assistant(*children: Any) -> PromptRole[Any]:
    """A turn, of a schema or of a prompt."""
    return _turn("assistant", children, _caller())


def prompt(of: Schema | str, /, *children: Asked, **arguments: str) -> Prompt:
    """A prompt for a schema, which it is checked against, or for the schema of a name.

    Raises PMLPromptError for what does not fit the schema.
    """
    at = _caller()
    name = of if isinstance(of, str) else of.name
    built = Prompt(name, _arguments(arguments, at), _nodes(children, at), at)
    if isinstance(of, Schema):
        check_prompt(built, of, repeat=of.layout == "packed")
    return built


def use(module: str, /, *children: Asked, **arguments: str) -> PromptImport:
    """An import. Arguments of names that Python has not: `use("m", **{"my name": "x"})`."""
    at = _caller()
    return PromptImport(module, _arguments(arguments, at), _nodes(children, at), at)


def _turn(role: Role, children: tuple[Any, ...], at: Location) -> PromptRole[Any]:
    return PromptRole(role, _nodes(children, at), at)


def _arguments(arguments: dict[str, str], at: Location) -> dict[str, Argument]:
    return {name: Argument(text, at) for name, text in arguments.items()}


def _nodes(children: Iterable[str | Node], at: Location) -> tuple[Node | PromptText, ...]:
    """The children with their strings as texts: those side by side as one, none empty."""
    nodes: list[Node | PromptText] = []
    for child in children:
        if not isinstance(child, str):
            nodes.append(child)
        elif nodes and isinstance(last := nodes[-1], PromptText):
            nodes[-1] = PromptText(last.text + child, last.at)
        elif child:
            nodes.append(PromptText(child, at))
    return tuple(nodes)


def _caller() -> Location:
    """Where the function that asks was called."""
    frame = sys._getframe(2)
    positions = islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
    line, _, column, _ = next(positions)
    return Location(frame.f_code.co_filename, line or frame.f_lineno, (column or 0) + 1)
