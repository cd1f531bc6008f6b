"""The tree of a schema's document to a `Schema`: one method for each tag."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast, get_args

from pml.attributes import Attributes
from pml.errors import (
    Location,
    PMLSyntaxError,
    Related,
    Report,
    closest,
    did_you_mean,
    listed,
    quoted,
    tagged,
)
from pml.include import IncludedFiles, IncludeError
from pml.markup import Element, Limits, Text
from pml.nodes import (
    ROLES,
    ContextName,
    LayoutName,
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Role,
    Scaffold,
    Schema,
    SchemaNode,
)
from pml.rules import name_errors, scaffold_paths
from pml.source import advanced
from pml.whitespace import WHITE, normalised, preserves, settled

RESERVED = ("prompt", "use", "arg", *ROLES)
"""Tags with a meaning of their own in a prompt: a module of such a name could be declared, but its
tag would silently be something else there, so the name is refused where it is given."""

_CHILDREN = ("module", "union", "param", "parameter", *ROLES)


class SchemaReader:
    """`preserve` is what `space` says at an element, `role` the tag around it."""

    def __init__(self, limits: Limits, src_root: Path | None, report: Report) -> None:
        self.files = IncludedFiles(src_root, limits)
        self.report = report

    def attributes(self, element: Element, *known: str) -> Attributes:
        attributes = Attributes(element, self.report)
        attributes.only(*known)
        return attributes

    def wrong(
        self, message: str, at: Location, code: str = "misplaced", suggestion: str | None = None
    ) -> None:
        self.report(PMLSyntaxError(message, at, code=code, suggestion=suggestion))

    def schema(self, root: Element) -> Schema:
        attributes = self.attributes(root, "name", "layout", "attention", "space", "version")
        attributes.version()
        name = attributes.required("name", "travel")
        elements = [child for child in root.children if isinstance(child, Element)]
        layout = attributes.choice("layout", get_args(LayoutName))
        attention = attributes.choice("attention", get_args(ContextName))
        schema = Schema(
            name,
            cast(LayoutName | None, layout),
            cast(ContextName | None, attention),
            self.children(root, False, None),
            tuple(self.scaffold(child) for child in elements if _is_scaffold(child)),
            root.at,
        )
        self.check_names(schema)
        for scaffold in schema.scaffolds:
            try:
                scaffold_paths(schema, scaffold)
            except PMLSyntaxError as error:
                self.report(error)
        return schema

    def check_names(self, owner: Schema | PromptModule) -> None:
        for error in name_errors(owner):
            self.report(error)

    def children(
        self, parent: Element, preserve: bool, role: Element | None
    ) -> tuple[SchemaNode, ...]:
        preserve = preserves(parent, preserve, self.report)
        lifted = _is_scaffold if parent.tag == "schema" else _nothing
        nodes = (
            PromptText(child.text, child.at)
            if isinstance(child, Text)
            else self.node(child, preserve, role)
            for child in settled(parent, preserve, lifted)
        )
        return tuple(node for node in nodes if node is not None)

    def node(self, element: Element, preserve: bool, role: Element | None) -> SchemaNode | None:
        match element.tag:
            case "module":
                return self.module(element, preserve, role)
            case "union":
                return self.union(element, preserve, role)
            case "param" | "parameter":
                return self.parameter(element)
            case "system" | "user" | "assistant":
                return self.role(element, preserve, role)
            case _:
                self.unknown_tag(element)
                self.children(element, preserve, role)  # what is wrong inside of it is told too
                return None

    def module(self, element: Element, preserve: bool, role: Element | None) -> PromptModule:
        attributes = self.attributes(element, "name", "cache", "src", "space")
        name = attributes.optional("name", "rome")
        if name is not None and name in RESERVED:
            message = f"a module cannot be called {quoted(name)}: <{name}> means something else"
            attributes.wrong("name", f"{message} in a prompt; choose another name", "reserved-name")
        cache = attributes.flag("cache", True)
        if "src" in element.attributes:
            children = self.included(attributes, preserves(element, preserve, self.report))
        else:
            children = self.children(element, preserve, role)
        module = PromptModule(name, cache, children, element.at)
        if name is not None:
            self.check_names(module)
        return module

    def included(self, attributes: Attributes, preserve: bool) -> tuple[SchemaNode, ...]:
        name = attributes.required("src", "book.py")
        self.refuse_content(attributes.element, "its text is that of the file")
        try:
            text = self.files.text(name)
        except IncludeError as error:
            attributes.wrong("src", f"src={quoted(name)}: {error}", "include")
            return ()
        blank = text[: len(text) - len(text.lstrip(WHITE))]
        at = advanced(Location(name, 1, 1), blank.encode())
        if not preserve:
            text = normalised("\n" + text, first=True, last=True)  # its first line follows no tag
        return (PromptText(text, at),) if text else ()

    def union(self, element: Element, preserve: bool, role: Element | None) -> PromptUnion:
        attributes = self.attributes(element, "scaffold", "required", "space")
        preserve = preserves(element, preserve, self.report)
        members = []
        for child in element.children:
            if isinstance(child, Element) and child.tag == "module":
                members.append(self.module(child, preserve, role))
                if members[-1].name is None:
                    message = "a module without a name in a union; expected a name to import it by"
                    self.wrong(message, child.at, "missing-attribute")
            elif isinstance(child, Element) or child.text.strip(WHITE):
                found = tagged(child.tag) if isinstance(child, Element) else "text"
                message = f"{found} in a union; expected its alternatives, each in a <module>"
                self.wrong(message, child.at)
        if not members:
            message = "a union without modules; expected its alternatives"
            self.wrong(message, element.at, "empty-union")
        scaffold = attributes.optional("scaffold", "rome")
        names = [member.name or "" for member in members]
        if members and scaffold is not None and scaffold not in names:
            message = f"scaffold={quoted(scaffold)}; expected a member, {listed(names)}"
            attributes.wrong("scaffold", message, suggestion=closest(scaffold, names))
        required = attributes.flag("required", False)
        return PromptUnion(tuple(members), scaffold, required, element.at)

    def role(
        self, element: Element, preserve: bool, role: Element | None
    ) -> PromptRole[SchemaNode]:
        self.attributes(element, "space")
        if role is not None:
            self.report(role_in_role(element, role))
        children = self.children(element, preserve, element)
        return PromptRole(cast(Role, element.tag), children, element.at)

    def parameter(self, element: Element) -> PromptParameter:
        attributes = self.attributes(element, "name", "len", "length", "default", "scaffold")
        self.refuse_content(element, "a default goes into the attribute default")
        return PromptParameter(
            attributes.required("name", "city"),
            attributes.length(),
            element.attributes.get("default"),
            element.attributes.get("scaffold"),
            element.at,
        )

    def scaffold(self, element: Element) -> Scaffold:
        self.attributes(element, "modules")
        self.refuse_content(element, "it only names modules")
        names = element.attributes.get("modules", "").strip(WHITE)
        if not names:
            message = '<scaffold> names no modules; write <scaffold modules="a b c"/>'
            self.wrong(message, element.at, "missing-attribute")
        return Scaffold(tuple(re.findall(f"[^{WHITE}]+", names)), element.at)

    def refuse_content(self, element: Element, advice: str) -> None:
        for child in element.children:
            if isinstance(child, Element) or child.text.strip(WHITE):
                message = f"content in <{element.tag}>; expected none: {advice}"
                self.wrong(message, child.at)

    def unknown_tag(self, element: Element) -> None:
        expected = f"expected text or {', '.join(map(tagged, _CHILDREN))}"
        if element.tag == "scaffold":
            message = "<scaffold> stands directly in <schema>, nowhere else; move it there"
            self.wrong(message, element.at)
        elif element.tag in ("schema", "prompt", "use", "arg"):
            self.wrong(
                f"{tagged(element.tag)} cannot stand inside a schema; {expected}", element.at
            )
        else:
            guess = closest(element.tag, _CHILDREN)
            message = f"unknown tag {tagged(element.tag)}; {expected}{did_you_mean(guess, tagged)}"
            self.wrong(message, element.at, "unknown-tag", guess)


def role_in_role(element: Element, outer: Element) -> PMLSyntaxError:
    """The error of a role tag inside another, in a schema as in a prompt."""
    where = f"<{outer.tag}> of line {outer.at.line}"
    message = f"<{element.tag}> inside {where}: a role holds no role; close the outer first"
    related = [Related(outer.at, f"the outer <{outer.tag}>")]
    return PMLSyntaxError(message, element.at, code="role-in-role", related=related)


def _is_scaffold(child: Element) -> bool:
    return child.tag == "scaffold"


def _nothing(child: Element) -> bool:
    return False
