"""PML text to a `Prompt`: which modules it imports, with which arguments, and its own text.

In a prompt a tag is an import of the module of that name, its attributes the arguments. What does
not fit XML has a longer form: `<use module="any name">`, and `<arg name="x">text</arg>` in an
import or directly in the prompt. Whether the imports exist is for `check_prompt` to say.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

from pml.attributes import Attributes
from pml.check import check_prompt
from pml.errors import Location, PMLSyntaxError, Related, Report, quoted, raised, tagged
from pml.markup import PROMPT_LIMITS, Element, Limits, Text, parse_markup
from pml.nodes import (
    ROLES,
    Argument,
    Prompt,
    PromptImport,
    PromptNode,
    PromptRole,
    PromptText,
    Role,
)
from pml.schema_reader import role_in_role
from pml.source import check_text
from pml.whitespace import preserves, settled

__all__ = [
    "Argument",
    "Prompt",
    "PromptImport",
    "PromptNode",
    "PromptRole",
    "PromptText",
    "check_prompt",
    "parse_prompt",
    "parse_turn",
]


def parse_prompt(
    text: str | bytes,
    file: str = "<prompt>",
    *,
    limits: Limits = PROMPT_LIMITS,
    report: Report = raised,
) -> Prompt:
    """The prompt that the text asks for; `file` is only the name that errors carry.

    Raises PMLSyntaxError at the first thing that is wrong. With a `report` that does not raise,
    only for a document that is no well-formed prompt at all: then the tree lacks what could not
    be read.

    >>> parse_prompt('<prompt schema="s"><city name="Rome"/>Go!</prompt>').children[1].text
    'Go!'
    """
    root = parse_markup(text, file, limits)
    if root.tag != "prompt":
        hint = "; this is a schema, not a prompt" if root.tag == "schema" else ""
        message = f"found {tagged(root.tag)}; expected <prompt schema=…>{hint}"
        raise PMLSyntaxError(message, root.at, code="wrong-root")
    return _PromptReader(report).prompt(root)


def parse_turn(text: str, schema: str, file: str = "<turn>") -> Prompt:
    """A turn of a chat over `schema`: what may stand inside `<prompt>`, or a whole prompt.

    >>> parse_turn("<user>Why?</user>", "s").children[0].role
    'user'
    """
    check_text(text, str)
    if _WHOLE.match(text):
        return parse_prompt(text, file)
    document = f'<prompt schema="turn">\n{text}</prompt>'
    root = parse_markup(document, file, PROMPT_LIMITS, first_line=0)
    return replace(_PromptReader(raised).prompt(root), schema=schema, at=Location(file, 1, 1))


_WHOLE = re.compile(r"\s*<prompt[\s/>]")


class _PromptReader:
    """`preserve` is what `space` says at an element, `role` the tag around it."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def prompt(self, root: Element) -> Prompt:
        attributes = Attributes(root, self.report)
        schema = attributes.required("schema", "travel")
        attributes.version()
        preserve = preserves(root, False, self.report)
        arguments = self.arguments(root, ("schema", "version", "space"), preserve)
        return Prompt(schema, arguments, self.children(root, preserve, None), root.at)

    def children(
        self, parent: Element, preserve: bool, role: Element | None
    ) -> tuple[PromptNode, ...]:
        nodes = (
            PromptText(child.text, child.at)
            if isinstance(child, Text)
            else self.node(child, preserve, role)
            for child in settled(
                parent, preserve, _nothing if parent.tag in ROLES else _is_argument
            )
        )
        return tuple(node for node in nodes if node is not None)

    def node(self, element: Element, preserve: bool, role: Element | None) -> PromptNode | None:
        if element.tag in ROLES:
            return self.role(element, preserve, role)
        if element.tag == "arg":
            message = "<arg> in a role tag; expected it directly in an import or in <prompt>"
            self.misplaced(message, element)
            return None
        if element.tag == "prompt":
            self.misplaced("<prompt> inside a prompt; expected an import", element)
            return None
        own = ("module",) if element.tag == "use" else ()
        name = element.tag
        if own:
            name = Attributes(element, self.report).required("module", "any name")
        arguments = self.arguments(element, own, preserve)
        return PromptImport(name, arguments, self.children(element, preserve, role), element.at)

    def role(
        self, element: Element, preserve: bool, role: Element | None
    ) -> PromptRole[PromptNode]:
        Attributes(element, self.report).only("space")
        if role is not None:
            self.report(role_in_role(element, role))
        preserve = preserves(element, preserve, self.report)
        children = self.children(element, preserve, element)
        return PromptRole(cast(Role, element.tag), children, element.at)

    def arguments(
        self, element: Element, own: tuple[str, ...], preserve: bool
    ) -> dict[str, Argument]:
        """The arguments of a tag, from its attributes except its own ones and from its `<arg>`s."""
        found = {
            name: Argument(value, element.attribute_at(name))
            for name, value in element.attributes.items()
            if name not in own
        }
        for child in element.children:
            if isinstance(child, Element) and _is_argument(child):
                attributes = Attributes(child, self.report)
                attributes.only("name", "space")
                name = attributes.required("name", "city")
                if name in found:
                    self.report(_given_twice(name, child, found[name]))
                else:
                    found[name] = Argument(self.argument_text(child, preserve), child.at)
        return found

    def argument_text(self, element: Element, preserve: bool) -> str:
        text = ""
        for child in settled(element, preserves(element, preserve, self.report)):
            if isinstance(child, Text):
                text += child.text
            else:
                self.misplaced(f"{tagged(child.tag)} in an argument; expected text only", child)
        return text

    def misplaced(self, message: str, element: Element) -> None:
        self.report(PMLSyntaxError(message, element.at, code="misplaced"))


def _given_twice(name: str, element: Element, first: Argument) -> PMLSyntaxError:
    given = f"line {first.at.line} gives it already"
    message = f"argument {quoted(name)} given twice; {given}; keep one of them"
    related = [Related(first.at, "the first one")]
    return PMLSyntaxError(message, element.at, code="duplicate-argument", related=related)


def _is_argument(child: Element) -> bool:
    return child.tag == "arg"


def _nothing(child: Element) -> bool:
    return False
