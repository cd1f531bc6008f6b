"""What could be typed at the cursor: modules in scope, tags, attributes, arguments, values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from pml import description
from pml.lsp.documents import Document
from pml.lsp.project import Project
from pml.lsp.scan import Cursor, Tag, cursor_at
from pml.lsp.scope import Scope, is_tag_name, scope_in_prompt, scope_in_schema
from pml.nodes import ROLES, Schema, children_of, parameters_of

_MOST_PATHS = 1_000

Kind = Literal["module", "tag", "attribute", "argument", "value"]


@dataclass(frozen=True)
class Proposal:
    """Text for the place of [start, the cursor): `before`, where typing goes on, `after`."""

    label: str
    kind: Kind
    detail: str
    start: int
    before: str
    after: str = ""


def complete(document: Document, offset: int, project: Project) -> list[Proposal]:
    """The proposals at a cursor, the likeliest first."""
    cursor = cursor_at(document.text.content, offset)
    if cursor.spot == "closing":
        names = [tag.name for tag in (*cursor.around, cursor.tag) if tag is not None]
        return [Proposal(f"/{name}", "tag", "", cursor.start, f"{name}>") for name in names[:-2:-1]]
    if not cursor.around and cursor.spot == "tag":
        roots = {"schema": description.SCHEMA, "prompt": description.PROMPT}
        return [_tag(name, tags[name], cursor) for name, tags in roots.items()]
    found = _in_prompt if document.is_prompt else _in_schema
    return [*found(cursor, document, project)]


def _in_schema(cursor: Cursor, document: Document, project: Project) -> Iterator[Proposal]:
    schema = project.read(document).tree if document.is_schema else None
    if cursor.spot == "tag":
        parent = description.SCHEMA.get(cursor.around[-1].name)
        for name in parent.children if parent else ():
            if name not in ROLES or not _in_role(cursor):
                yield _tag(name, description.SCHEMA[name], cursor)
    elif cursor.tag is not None and (tag := description.SCHEMA.get(cursor.tag.name)):
        if cursor.spot == "attribute":
            yield from _attributes(cursor, cursor.tag, tag)
        elif cursor.spot == "value" and cursor.attribute is not None:
            yield from _values(cursor, tag)
            if schema is not None and cursor.attribute.name == "scaffold":
                yield from _members(cursor, schema)
            elif schema is not None and cursor.attribute.name == "modules":
                yield from _paths(cursor, schema)


def _in_prompt(cursor: Cursor, document: Document, project: Project) -> Iterator[Proposal]:
    read = project.schema_of(document)
    schema = read.tree if read else None
    if cursor.spot == "tag":
        yield from _imports(cursor, schema)
    elif cursor.tag is not None and cursor.spot == "attribute":
        scope = schema and scope_in_prompt(schema, (*cursor.around, cursor.tag))
        tag = description.PROMPT.get(cursor.tag.name, description.IMPORT)
        if scope and tag.arguments:
            yield from _arguments(cursor, cursor.tag, scope)
        yield from _attributes(cursor, cursor.tag, tag)
    elif cursor.tag is not None and cursor.attribute is not None and cursor.spot == "value":
        names: Sequence[str] = ()
        scope = schema and scope_in_prompt(schema, cursor.around)
        match cursor.tag.name, cursor.attribute.name:
            case "prompt", "schema":
                names = project.schema_names(document)
            case "use", "module":
                names = [*children_of(scope.owner)] if scope else ()
            case "arg", "name":
                names = [*parameters_of(scope.owner)] if scope else ()
        for name in names:
            yield Proposal(name, "value", "", cursor.start, escape(name))
        if not names:
            yield from _values(cursor, description.PROMPT.get(cursor.tag.name, description.IMPORT))


def _imports(cursor: Cursor, schema: Schema | None) -> Iterator[Proposal]:
    """The modules in scope, by `<use>` where a name is no tag; then the language's own tags."""
    scope = schema and scope_in_prompt(schema, cursor.around)
    for child in scope.children if scope else ():
        name = child.path[-1]
        detail = _detail(child)
        if is_tag_name(name):
            yield Proposal(name, "module", detail, cursor.start, name)
        else:
            text = f'use module="{escape(name)}"'
            yield Proposal(name, "module", detail, cursor.start, text)
    parent = description.PROMPT.get(cursor.around[-1].name, description.IMPORT)
    for name in parent.children:
        if name not in ROLES or not _in_role(cursor):
            yield _tag(name, description.PROMPT[name], cursor)


def _detail(scope: Scope) -> str:
    parts = ["module"]
    if scope.union is not None:
        parts = ["member of a required union" if scope.union.required else "member of a union"]
    if parameters := parameters_of(scope.owner):
        parts.append(f"arguments: {', '.join(parameters)}")
    return "; ".join(parts)


def _arguments(cursor: Cursor, tag: Tag, scope: Scope) -> Iterator[Proposal]:
    for name, parameter in parameters_of(scope.owner).items():
        if is_tag_name(name) and (name not in tag.attributes or _is_here(cursor, name)):
            detail = f"at most {parameter.length} tokens"
            if parameter.default is not None:
                detail += f", default “{parameter.default}”"
            yield Proposal(name, "argument", detail, cursor.start, *_assigned(cursor, name))


def _attributes(cursor: Cursor, tag: Tag, known: description.Tag) -> Iterator[Proposal]:
    for name, attribute in known.attributes.items():
        if name not in tag.attributes or _is_here(cursor, name):
            before, after = _assigned(cursor, name)
            yield Proposal(name, "attribute", attribute.doc, cursor.start, before, after)


def _is_here(cursor: Cursor, name: str) -> bool:
    return cursor.attribute is not None and cursor.attribute.name == name


def _assigned(cursor: Cursor, name: str) -> tuple[str, str]:
    """An attribute's name, with a value to fill in where it has none yet."""
    has_value = cursor.attribute is not None and cursor.attribute.value is not None
    return (name, "") if has_value else (f'{name}="', '"')


def _values(cursor: Cursor, tag: description.Tag) -> Iterator[Proposal]:
    known = tag.attributes.get(cursor.attribute.name) if cursor.attribute else None
    for value, doc in known.values.items() if known else ():
        yield Proposal(value, "value", doc, cursor.start, value)


def _members(cursor: Cursor, schema: Schema) -> Iterator[Proposal]:
    """What a union's `scaffold` may name: the members of unions of the owner around it."""
    scope = scope_in_schema(schema, cursor.around)
    if scope and cursor.tag and cursor.tag.name == "union":
        for child in scope.children:
            if child.union is not None:
                name = child.path[-1]
                yield Proposal(name, "value", "member of a union", cursor.start, escape(name))


def _paths(cursor: Cursor, schema: Schema) -> Iterator[Proposal]:
    """What `<scaffold modules>` may name: the last of its words."""
    start = cursor.offset - len(re.split(r"\s", cursor.typed)[-1])
    waiting = Scope(schema, ()).children
    for _ in range(_MOST_PATHS):
        if not waiting:
            return
        scope = waiting.pop(0)
        waiting += scope.children
        path = "/".join(scope.path)
        yield Proposal(path, "value", _detail(scope), start, escape(path))


def _tag(name: str, tag: description.Tag, cursor: Cursor) -> Proposal:
    return Proposal(name, "tag", tag.doc, cursor.start, name)


def _in_role(cursor: Cursor) -> bool:
    return any(tag.name in ROLES for tag in cursor.around)
