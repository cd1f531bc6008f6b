"""Where things are: the outline of a document, and the declaration of what a cursor stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pml.errors import Location
from pml.lsp.documents import Document
from pml.lsp.project import Project
from pml.lsp.scan import Cursor, Element, Tag, cursor_at, elements
from pml.lsp.scope import Scope, imported, scope_in_prompt, scope_in_schema
from pml.nodes import ROLES, Schema

Kind = Literal["schema", "module", "union", "parameter", "scaffold", "role", "prompt", "import"]


@dataclass(frozen=True)
class Symbol:
    """An element of the outline: it takes [start, stop), its tag's name ends at `name_end`."""

    name: str
    kind: Kind
    start: int
    name_end: int
    stop: int
    children: tuple[Symbol, ...]


@dataclass(frozen=True)
class Target:
    """The text [start, stop) of a document, which may be another one."""

    uri: str
    document: Document | None
    start: int
    stop: int


def outline(document: Document) -> list[Symbol]:
    """What a document declares or imports, as far as it is typed."""
    found = elements(document.text.content)
    return [_symbol(element, document.is_prompt) for element in found]


def _symbol(element: Element, in_prompt: bool) -> Symbol:
    tag = element.tag
    kind, name = _in_prompt(tag) if in_prompt else _in_schema(tag)
    children = tuple(_symbol(child, in_prompt) for child in element.children)
    return Symbol(name, kind, tag.start, tag.name_end, element.end, children)


def _in_schema(tag: Tag) -> tuple[Kind, str]:
    name = tag.attributes.get("name", "")
    match tag.name:
        case "schema":
            return "schema", name or "schema"
        case "param" | "parameter":
            length = tag.attributes.get("len") or tag.attributes.get("length") or "?"
            return "parameter", f"{name or '?'} ({length} tokens)"
        case "union":
            return "union", "union"
        case "scaffold":
            return "scaffold", f"scaffold {tag.attributes.get('modules', '')}".strip()
        case role if role in ROLES:
            return "role", role
    return "module", name or "anonymous"


def _in_prompt(tag: Tag) -> tuple[Kind, str]:
    if tag.name == "prompt":
        return "prompt", tag.attributes.get("schema") or "prompt"
    if tag.name in ROLES:
        return "role", tag.name
    if tag.name == "arg":
        return "parameter", tag.attributes.get("name") or "arg"
    return "import", imported(tag) or "use"


def definition(document: Document, offset: int, project: Project) -> Target | None:
    """Where that is declared which the cursor stands on."""
    cursor = cursor_at(document.text.content, offset)
    if cursor.tag is None:
        return None
    if not document.is_prompt:
        tree = project.read(document).tree if document.is_schema else None
        return _named_in_schema(cursor, cursor.tag, document, tree) if tree else None
    read = project.schema_of(document)
    if read is None or read.tree is None:
        return None
    scope = scope_in_prompt(read.tree, (*cursor.around, cursor.tag))
    at = _declared(cursor, cursor.tag, scope) if scope else None
    return _target(at, read.document) if at else None


def _declared(cursor: Cursor, tag: Tag, scope: Scope) -> Location | None:
    """The place of the module, parameter or schema that a prompt's tag or attribute means."""
    argument = cursor.attribute.name if cursor.attribute else None
    if tag.name == "arg":
        argument = tag.attributes.get("name")
    elif tag.name in ROLES:
        return None
    elif (tag.name, argument) in (("prompt", "schema"), ("use", "module")):
        argument = None
    if argument is None:
        return scope.owner.at
    parameter = scope.parameter(argument)
    return parameter.at if parameter else None


def _named_in_schema(cursor: Cursor, tag: Tag, document: Document, schema: Schema) -> Target | None:
    """What the value of `src`, `scaffold` or `modules` names."""
    if cursor.spot != "value" or cursor.attribute is None:
        return None
    scope: Scope | None = None
    match tag.name, cursor.attribute.name:
        case "module", "src":
            return _file(tag.attributes["src"], document)
        case "union", "scaffold":
            owner = scope_in_schema(schema, cursor.around)
            scope = owner.child(tag.attributes["scaffold"]) if owner else None
        case "scaffold", "modules":
            value = cursor.attribute.value or ""
            end = len(cursor.typed) + len((value[len(cursor.typed) :].split() or [""])[0])
            scope = Scope(schema, ())
            for name in (value[:end].split() or [""])[-1].split("/"):
                scope = scope.child(name) if scope else None
    return _target(scope.owner.at, document) if scope else None


def _file(name: str, document: Document) -> Target | None:
    if document.path is None:
        return None
    path = document.path.parent / name
    return Target(path.as_uri(), None, 0, 0) if path.is_file() else None


def _target(at: Location, document: Document) -> Target:
    """The tag at a place, up to its name."""
    start = document.text.offset_of(at)
    tag = cursor_at(document.text.content, start + 1).tag
    return Target(document.uri, document, start, tag.name_end if tag else start)
