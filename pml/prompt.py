"""PML text to a `Prompt`: which modules it imports, with which arguments, and its own text.

In a prompt a tag is an import of the module of that name, its attributes the arguments. What does
not fit XML has a longer form: `<use module="any name">`, and `<arg name="x">text</arg>` in an
import or directly in the prompt. Whether the imports exist is for `check_prompt` to say.
"""

from typing import cast, get_args

from pml.attributes import check_attributes, required
from pml.check import check_prompt
from pml.errors import PMLSyntaxError, quoted, tagged
from pml.markup import PROMPT_LIMITS, Element, Limits, Text, parse_markup
from pml.nodes import Argument, Prompt, PromptImport, PromptNode, PromptRole, PromptText, Role
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
]


def parse_prompt(
    text: str | bytes, file: str = "<prompt>", *, limits: Limits = PROMPT_LIMITS
) -> Prompt:
    """The prompt that the text asks for; `file` is only the name that errors carry.

    Raises PMLSyntaxError at the first thing that is wrong.

    >>> parse_prompt('<prompt schema="s"><city name="Rome"/>Go!</prompt>').children[1].text
    'Go!'
    """
    root = parse_markup(text, file, limits)
    if root.tag != "prompt":
        hint = "; this is a schema, not a prompt" if root.tag == "schema" else ""
        raise PMLSyntaxError(f"found {tagged(root.tag)}; expected <prompt schema=…>{hint}", root.at)
    schema = required(root, "schema", "travel")
    arguments = _arguments(root, ("schema", "space"), preserves(root, False))
    return Prompt(schema, arguments, _children(root, False, None), root.at)


def _children(parent: Element, preserve: bool, role: Element | None) -> tuple[PromptNode, ...]:
    """`role` is the role tag that everything stands in, if there is one."""
    if not _is_import(parent):
        preserve = preserves(parent, preserve)
    return tuple(
        PromptText(child.text, child.at)
        if isinstance(child, Text)
        else _node(child, preserve, role)
        for child in settled(parent, preserve, _nothing if parent.tag in _ROLES else _is_argument)
    )


def _node(element: Element, preserve: bool, role: Element | None) -> PromptNode:
    if element.tag in _ROLES:
        check_attributes(element, ("space",))
        if role is not None:
            outer = f"<{role.tag}> of line {role.at.line}"
            message = f"<{element.tag}> inside {outer}: a role holds no role; close the outer first"
            raise PMLSyntaxError(message, element.at)
        children = _children(element, preserve, element)
        return PromptRole(cast(Role, element.tag), children, element.at)
    if element.tag == "arg":
        message = "<arg> in a role tag; expected it directly in an import or in <prompt>"
        raise PMLSyntaxError(message, element.at)
    if element.tag == "prompt":
        raise PMLSyntaxError("<prompt> inside a prompt; expected an import", element.at)
    own = ("module",) if element.tag == "use" else ()
    name = required(element, "module", "any name") if own else element.tag
    arguments = _arguments(element, own, preserve)
    return PromptImport(name, arguments, _children(element, preserve, role), element.at)


def _arguments(element: Element, own: tuple[str, ...], preserve: bool) -> dict[str, Argument]:
    """The arguments of a tag, from its attributes except its own ones and from its `<arg>`s."""
    found = {
        name: Argument(value, element.attribute_at(name))
        for name, value in element.attributes.items()
        if name not in own
    }
    for child in element.children:
        if isinstance(child, Element) and _is_argument(child):
            check_attributes(child, ("name", "space"))
            name = required(child, "name", "city")
            if name in found:
                first = f"line {found[name].at.line} gives it already"
                message = f"argument {quoted(name)} given twice; {first}; keep one of them"
                raise PMLSyntaxError(message, child.at)
            found[name] = Argument(_argument_text(child, preserve), child.at)
    return found


def _argument_text(element: Element, preserve: bool) -> str:
    text = ""
    for child in settled(element, preserves(element, preserve)):
        if isinstance(child, Element):
            message = f"{tagged(child.tag)} in an argument; expected text only"
            raise PMLSyntaxError(message, child.at)
        text += child.text
    return text


_ROLES = get_args(Role)


def _is_import(element: Element) -> bool:
    return element.tag not in ("prompt", "arg", *_ROLES)


def _is_argument(child: Element) -> bool:
    return child.tag == "arg"


def _nothing(child: Element) -> bool:
    return False
