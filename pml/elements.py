"""A `Schema` or a `Prompt` as the tree of its document, whose texts stand as they are.

It is what `parse_markup` would give for a document that says the same: written out it is PML
(`pml.writer`), and read by the reader of documents it is held to every rule that they are.
"""

import re
from collections.abc import Mapping

from pml.errors import IN_CODE, Location
from pml.markup import Element, Text
from pml.nodes import (
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    Schema,
    SchemaNode,
)
from pml.schema_reader import RESERVED

_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_MOST_ATTRIBUTES = 32


def schema_element(schema: Schema) -> Element:
    attributes = {"name": schema.name, "layout": schema.layout, "attention": schema.attention}
    scaffolds = [
        _element("scaffold", {"modules": " ".join(each.modules)}, at=each.at)
        for each in schema.scaffolds
    ]
    children = (*scaffolds, *map(_schema_node, schema.children))
    return _element("schema", attributes, children, schema.at)


def prompt_element(prompt: Prompt) -> Element:
    return _import("prompt", {"schema": prompt.schema}, prompt, ("schema", "version", "space"))


def _schema_node(node: SchemaNode) -> Element | Text:
    attributes: dict[str, str | None]
    match node:
        case PromptText():
            return Text(node.text, node.at)
        case PromptRole():
            return _element(node.role, {}, tuple(map(_schema_node, node.children)), node.at)
        case PromptParameter():
            attributes = {"name": node.name, "len": str(node.length), "default": node.default}
            return _element("param", {**attributes, "scaffold": node.scaffold}, at=node.at)
        case PromptModule():
            attributes = {"name": node.name, "cache": None if node.cache else "false"}
            return _element("module", attributes, tuple(map(_schema_node, node.children)), node.at)
        case _:
            required = "true" if node.required else None
            attributes = {"scaffold": node.scaffold, "required": required}
            return _element("union", attributes, tuple(map(_schema_node, node.members)), node.at)


def _prompt_node(node: PromptNode) -> Element | Text:
    match node:
        case PromptText():
            return Text(node.text, node.at)
        case PromptRole():
            return _element(node.role, {}, tuple(map(_prompt_node, node.children)), node.at)
        case _:
            if _TAG.fullmatch(node.name) and node.name not in RESERVED:
                return _import(node.name, {}, node, ())
            return _import("use", {"module": node.name}, node, ("module",))


def _import(
    tag: str, own: Mapping[str, str], node: Prompt | PromptImport, taken: tuple[str, ...]
) -> Element:
    """The prompt or an import. Arguments are attributes where that can be; `taken` have no place
    among them."""
    attributes = dict(own)
    elements = []
    few = len(node.arguments) <= _MOST_ATTRIBUTES
    for name, argument in node.arguments.items():
        if few and name not in taken and _TAG.fullmatch(name) and "\n" not in argument.text:
            attributes[name] = argument.text
        else:
            text = (Text(argument.text, argument.at),) if argument.text else ()
            elements.append(_element("arg", {"name": name}, text, argument.at))
    return _element(tag, attributes, (*elements, *map(_prompt_node, node.children)), node.at)


def _element(
    tag: str,
    attributes: Mapping[str, str | None],
    children: tuple[Element | Text, ...] = (),
    at: Location = IN_CODE,
) -> Element:
    given = {name: value for name, value in attributes.items() if value is not None}
    return Element(tag, given, children, at, b"")
