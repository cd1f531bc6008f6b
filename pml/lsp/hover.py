"""What an editor shows about the word under the cursor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pml import description
from pml.errors import PMLError
from pml.lsp import facts
from pml.lsp.documents import Document
from pml.lsp.project import Project, ReadSchema
from pml.lsp.scan import Cursor, Tag, cursor_at, elements_in
from pml.lsp.scope import Scope, scope_in_prompt, scope_in_schema
from pml.nodes import ROLES, PromptUnion, unions_of
from pml.prompt import parse_prompt

_NO_MODEL = "*Positions and tokens: start `pml lsp --model DIR`.*"
_BROKEN = "*Positions and tokens: when the schema has no errors.*"


@dataclass(frozen=True)
class Hover:
    """Markdown about the text [start, stop)."""

    markdown: str
    start: int
    stop: int


def hover(document: Document, offset: int, project: Project) -> Hover | None:
    cursor = cursor_at(document.text.content, offset)
    if cursor.tag is None:
        return None
    if document.is_prompt:
        lines = _in_prompt(cursor, cursor.tag, document, project)
    else:
        lines = _in_schema(cursor, cursor.tag, document, project)
    text = "\n\n".join(line for line in lines if line)
    return Hover(text, *_extent(cursor, cursor.tag)) if text else None


def _extent(cursor: Cursor, tag: Tag) -> tuple[int, int]:
    if cursor.spot in ("tag", "closing"):
        return cursor.start, cursor.start + len(tag.name)
    if cursor.attribute is not None:
        return cursor.attribute.start, cursor.attribute.end
    return tag.start, tag.end


def _measured(read: ReadSchema, project: Project) -> facts.Measured:
    return read.planner or (_NO_MODEL if project.model is None else _BROKEN)


def _of_attribute(cursor: Cursor, tag: description.Tag) -> Iterator[str]:
    """An attribute of the language itself, and the value that it has."""
    written = cursor.attribute
    known = tag.attributes.get(written.name) if written else None
    if written and known:
        yield f"`{written.name}` {known.doc}"
        if meaning := known.values.get(written.value or ""):
            yield f"`{written.value}`: {meaning}"


def _in_schema(cursor: Cursor, tag: Tag, document: Document, project: Project) -> Iterator[str]:
    known = description.SCHEMA.get(tag.name)
    if known is None or not document.is_schema:
        return
    if cursor.attribute is not None and cursor.attribute.name != "name":
        yield from _of_attribute(cursor, known)
        return
    read = project.read(document)
    scope = read.tree and scope_in_schema(read.tree, (*cursor.around, tag))
    if scope:
        yield from _declared(scope, tag, document, _measured(read, project))
    yield f"`<{tag.name}>` {known.doc}"


def _declared(
    scope: Scope, tag: Tag, document: Document, measured: facts.Measured
) -> Iterator[str]:
    """What a tag of a schema declares."""
    name = tag.attributes.get("name")
    if tag.name == "schema" or (tag.name == "module" and name is not None):
        yield from facts.of_scope(scope, measured)
    elif tag.name in ("param", "parameter") and (parameter := scope.parameter(name or "")):
        yield from facts.of_parameter(scope, parameter, measured)
    elif tag.name == "union" and (union := _union_of(scope, tag, document)):
        yield from facts.of_union(union, scope, measured)
    elif tag.name in ROLES:
        yield facts.of_role(tag.name, measured)


def _union_of(scope: Scope, tag: Tag, document: Document) -> PromptUnion | None:
    """The union that a tag begins, known by its members."""
    members = {one.tag.attributes.get("name") for one in elements_in(document.text.content, tag)}
    unions = unions_of(scope.owner)
    return next((u for u in unions if members & {member.name for member in u.members}), None)


def _in_prompt(cursor: Cursor, tag: Tag, document: Document, project: Project) -> Iterator[str]:
    read = project.schema_of(document)
    known = description.PROMPT.get(tag.name, description.IMPORT)
    scope = None
    if read is not None and read.tree is not None:
        scope = scope_in_prompt(read.tree, (*cursor.around, tag))
        measured = _measured(read, project)
    written = cursor.attribute
    if written is not None and written.name not in known.attributes:
        parameter = scope.parameter(written.name) if scope else None
        if scope and parameter:
            yield from facts.of_parameter(scope, parameter, measured)
            yield facts.of_argument(tag.attributes.get(written.name, ""), parameter, measured)
        return
    if written is not None and written.name not in ("schema", "module"):
        yield from _of_attribute(cursor, known)
    elif (
        scope
        and tag.name == "arg"
        and (parameter := scope.parameter(tag.attributes.get("name", "")))
    ):
        yield from facts.of_parameter(scope, parameter, measured)
    elif tag.name in ROLES:
        yield f"`<{tag.name}>` {known.doc}"
        yield facts.of_role(tag.name, measured) if scope else ""
    elif scope:
        yield from facts.of_scope(scope, measured)
        yield _planned(scope, document, read)


def _planned(scope: Scope, document: Document, read: ReadSchema | None) -> str:
    """Where the module stands in this very prompt, if the prompt is right."""
    if read is None or read.planner is None:
        return ""
    try:
        plan = read.planner.plan(parse_prompt(document.text.content))
    except PMLError:
        return ""
    return facts.of_import(scope, plan) if scope.path else facts.of_prompt(plan)
