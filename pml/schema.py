"""PML text to a `Schema`.

Everything that a schema says is checked here, so that whoever holds a `Schema` that was parsed
may rely on it: names are unique in their owner, no role stands in a role, unions hold named
modules only, scaffolds name modules that one prompt can import together.
"""

import re
from pathlib import Path
from typing import cast, get_args

from pml.attributes import check_attributes, choice, flag, length, optional, required, wrong
from pml.errors import Location, PMLSyntaxError, did_you_mean, listed, quoted, tagged
from pml.include import IncludedFiles, IncludeError
from pml.markup import SCHEMA_LIMITS, Element, Limits, Text, parse_markup
from pml.nodes import (
    ContextName,
    LayoutName,
    ModulePath,
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Role,
    Scaffold,
    Schema,
    SchemaNode,
    children_of,
    own_nodes,
    parameters_of,
    unions_of,
)
from pml.rules import check_names, scaffold_paths
from pml.source import advanced
from pml.whitespace import WHITE, normalised, preserves, settled

__all__ = [
    "ModulePath",
    "PromptModule",
    "PromptParameter",
    "PromptRole",
    "PromptText",
    "PromptUnion",
    "Role",
    "Scaffold",
    "Schema",
    "SchemaNode",
    "children_of",
    "own_nodes",
    "parameters_of",
    "parse_schema",
    "scaffold_paths",
    "unions_of",
]

ROLES = get_args(Role)
RESERVED = ("prompt", "use", "arg", *ROLES)
"""Tags with a meaning of their own in a prompt: a module of such a name could be declared, but its
tag would silently be something else there, so the name is refused where it is given."""

_CHILDREN = ("module", "union", "param", "parameter", *ROLES)


def parse_schema(
    text: str | bytes,
    file: str = "<schema>",
    *,
    limits: Limits = SCHEMA_LIMITS,
    src_root: Path | None = None,
) -> Schema:
    """The schema that the text declares; `file` is only the name that errors carry.

    `src_root` is the folder below which `src="…"` may read, as a rule the schema's own; without
    it such modules are refused. Raises PMLSyntaxError at the first thing that is wrong.

    >>> parse_schema('<schema name="s"><module name="m">Hello</module></schema>').children[0].name
    'm'
    """
    root = parse_markup(text, file, limits)
    if root.tag != "schema":
        hint = "; this is a prompt, not its schema" if root.tag == "prompt" else ""
        raise PMLSyntaxError(f"found {tagged(root.tag)}; expected <schema name=…>{hint}", root.at)
    return _SchemaReader(limits, src_root).schema(root)


class _SchemaReader:
    """One method for each tag; `preserve` is what `space` says there, `role` the tag around it."""

    def __init__(self, limits: Limits, src_root: Path | None) -> None:
        self.files = IncludedFiles(src_root, limits)

    def schema(self, root: Element) -> Schema:
        check_attributes(root, ("name", "layout", "attention", "space"))
        name = required(root, "name", "travel")
        elements = [child for child in root.children if isinstance(child, Element)]
        layout = choice(root, "layout", get_args(LayoutName))
        attention = choice(root, "attention", get_args(ContextName))
        schema = Schema(
            name,
            cast(LayoutName | None, layout),
            cast(ContextName | None, attention),
            self.children(root, False, None),
            tuple(_scaffold(child) for child in elements if _is_scaffold(child)),
            root.at,
        )
        check_names(schema)
        for scaffold in schema.scaffolds:
            scaffold_paths(schema, scaffold)
        return schema

    def children(
        self, parent: Element, preserve: bool, role: Element | None
    ) -> tuple[SchemaNode, ...]:
        preserve = preserves(parent, preserve)
        lifted = _is_scaffold if parent.tag == "schema" else _nothing
        return tuple(
            PromptText(child.text, child.at)
            if isinstance(child, Text)
            else self.node(child, preserve, role)
            for child in settled(parent, preserve, lifted)
        )

    def node(self, element: Element, preserve: bool, role: Element | None) -> SchemaNode:
        match element.tag:
            case "module":
                return self.module(element, preserve, role)
            case "union":
                return self.union(element, preserve, role)
            case "param" | "parameter":
                return _parameter(element)
            case "system" | "user" | "assistant":
                return self.role(element, preserve, role)
            case _:
                raise _unknown_tag(element)

    def module(self, element: Element, preserve: bool, role: Element | None) -> PromptModule:
        check_attributes(element, ("name", "cache", "src", "space"))
        name = optional(element, "name", "rome")
        if name is not None and name in RESERVED:
            message = (
                f"a module cannot be called {quoted(name)}: <{name}> means something else in a"
            )
            raise wrong(element, "name", f"{message} prompt; choose another name")
        cache = flag(element, "cache", True)
        if "src" in element.attributes:
            children = self.included(element, preserves(element, preserve))
        else:
            children = self.children(element, preserve, role)
        module = PromptModule(name, cache, children, element.at)
        if name is not None:
            check_names(module)
        return module

    def included(self, element: Element, preserve: bool) -> tuple[SchemaNode, ...]:
        name = required(element, "src", "book.py")
        _refuse_content(element, "its text is that of the file")
        try:
            text = self.files.text(name)
        except IncludeError as error:
            raise wrong(element, "src", f"src={quoted(name)}: {error}") from None
        blank = text[: len(text) - len(text.lstrip(WHITE))]
        at = advanced(Location(name, 1, 1), blank.encode())
        if not preserve:
            text = normalised("\n" + text, first=True, last=True)  # its first line follows no tag
        return (PromptText(text, at),) if text else ()

    def union(self, element: Element, preserve: bool, role: Element | None) -> PromptUnion:
        check_attributes(element, ("scaffold", "required", "space"))
        preserve = preserves(element, preserve)
        members = []
        for child in element.children:
            if isinstance(child, Element) and child.tag == "module":
                members.append(self.module(child, preserve, role))
                if members[-1].name is None:
                    message = "a module without a name in a union; expected a name to import it by"
                    raise PMLSyntaxError(message, child.at)
            elif isinstance(child, Element) or child.text.strip(WHITE):
                found = tagged(child.tag) if isinstance(child, Element) else "text"
                message = f"{found} in a union; expected its alternatives, each in a <module>"
                raise PMLSyntaxError(message, child.at)
        if not members:
            raise PMLSyntaxError("a union without modules; expected its alternatives", element.at)
        scaffold = optional(element, "scaffold", "rome")
        names = [member.name or "" for member in members]
        if scaffold is not None and scaffold not in names:
            message = f"scaffold={quoted(scaffold)}; expected a member, {listed(names)}"
            raise wrong(element, "scaffold", message + did_you_mean(scaffold, names))
        return PromptUnion(tuple(members), scaffold, flag(element, "required", False), element.at)

    def role(
        self, element: Element, preserve: bool, role: Element | None
    ) -> PromptRole[SchemaNode]:
        check_attributes(element, ("space",))
        if role is not None:
            outer = f"<{role.tag}> of line {role.at.line}"
            message = f"<{element.tag}> inside {outer}: a role holds no role; close the outer first"
            raise PMLSyntaxError(message, element.at)
        children = self.children(element, preserve, element)
        return PromptRole(cast(Role, element.tag), children, element.at)


def _parameter(element: Element) -> PromptParameter:
    check_attributes(element, ("name", "len", "length", "default", "scaffold"))
    _refuse_content(element, "a default goes into the attribute default")
    return PromptParameter(
        required(element, "name", "city"),
        length(element),
        element.attributes.get("default"),
        element.attributes.get("scaffold"),
        element.at,
    )


def _scaffold(element: Element) -> Scaffold:
    check_attributes(element, ("modules",))
    _refuse_content(element, "it only names modules")
    names = element.attributes.get("modules", "").strip(WHITE)
    if not names:
        message = '<scaffold> names no modules; write <scaffold modules="a b c"/>'
        raise PMLSyntaxError(message, element.at)
    return Scaffold(tuple(re.split(f"[{WHITE}]+", names)), element.at)


def _is_scaffold(child: Element) -> bool:
    return child.tag == "scaffold"


def _nothing(child: Element) -> bool:
    return False


def _refuse_content(element: Element, advice: str) -> None:
    for child in element.children:
        if isinstance(child, Element) or child.text.strip(WHITE):
            message = f"content in <{element.tag}>; expected none: {advice}"
            raise PMLSyntaxError(message, child.at)


def _unknown_tag(element: Element) -> PMLSyntaxError:
    if element.tag == "scaffold":
        message = "<scaffold> stands directly in <schema>, nowhere else; move it there"
        return PMLSyntaxError(message, element.at)
    expected = f"expected text or {', '.join(map(tagged, _CHILDREN))}"
    if element.tag in ("schema", "prompt", "use", "arg"):
        message = f"{tagged(element.tag)} cannot stand inside a schema; {expected}"
    else:
        guess = did_you_mean(element.tag, _CHILDREN, tagged)
        message = f"unknown tag {tagged(element.tag)}; {expected}{guess}"
    return PMLSyntaxError(message, element.at)
