"""A `Schema` or a `Prompt` back to PML, so that parsing gives an equal one.

Text is written as it stands, right after the tag before it; where the white-space rule would
change it, its element gets `space="preserve"`. Between two tags the writer puts newlines and
indentation, which are nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from pml.errors import PMLError
from pml.markup import Limits
from pml.nodes import (
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
)
from pml.prompt import parse_prompt
from pml.schema import RESERVED, parse_schema
from pml.whitespace import normalised

Children: TypeAlias = "tuple[SchemaNode, ...] | tuple[PromptNode, ...]"

_GENEROUS = Limits(document_bytes=1 << 30, elements=1 << 30, depth=200)
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_MOST_ATTRIBUTES = 32


def write_schema(schema: Schema) -> str:
    """PML whose parse is equal to the schema.

    What came from `src` is written in place. A schema built by a program that no PML can say (two
    texts side by side, a name used twice, a control character) raises PMLError.

    >>> from pml.nodes import PromptModule, PromptText, Schema
    >>> hello = PromptModule("hello", children=(PromptText("Hi & bye"),))
    >>> print(write_schema(Schema("s", children=(hello,))))
    <schema name="s">
      <module name="hello">Hi &amp; bye</module>
    </schema>
    <BLANKLINE>
    """
    attributes = {"name": schema.name, "layout": schema.layout, "attention": schema.attention}
    scaffolds = [_tag("scaffold", {"modules": " ".join(s.modules)}) for s in schema.scaffolds]
    text = _element("schema", attributes, schema.children, "\n", False, scaffolds) + "\n"
    if parse_schema(text, "<written>", limits=_GENEROUS) != schema:
        message = f"schema {schema.name!r} cannot be written: as PML it would mean another"
        raise PMLError(message, schema.at)
    return text


def write_prompt(prompt: Prompt) -> str:
    """PML whose parse is equal to the prompt; PMLError if no PML can say it.

    >>> from pml.nodes import Argument, Prompt, PromptImport, PromptText
    >>> city = PromptImport("city", {"name": Argument("Rome")})
    >>> print(write_prompt(Prompt("travel", children=(city, PromptText("Go!")))))
    <prompt schema="travel">
      <city name="Rome"/>Go!</prompt>
    <BLANKLINE>
    """
    attributes, arguments = _arguments(prompt, {"schema": prompt.schema}, ("schema", "space"))
    text = _element("prompt", attributes, prompt.children, "\n", False, arguments) + "\n"
    if parse_prompt(text, "<written>", limits=_GENEROUS) != prompt:
        message = f"the prompt for {prompt.schema!r} cannot be written: as PML it would mean"
        raise PMLError(f"{message} another", prompt.at)
    return text


def _element(
    tag: str,
    attributes: Mapping[str, str | None],
    children: Children,
    newline: str,
    inherited: bool,
    declarations: Sequence[str] = (),
) -> str:
    """`newline` begins a line at the element's depth; `inherited` is the `space` around it."""
    preserve = _must_preserve(children, inherited)
    space = {True: "preserve", False: "default"}[preserve] if preserve != inherited else None
    attributes = {**attributes, "space": space}
    return _with_content(tag, attributes, children, newline, preserve, declarations)


def _with_content(
    tag: str,
    attributes: Mapping[str, str | None],
    children: Children,
    newline: str,
    preserve: bool,
    declarations: Sequence[str],
) -> str:
    """An element that holds the declarations, then the children; texts are safe as they are."""
    if not children and not declarations:
        return _tag(tag, attributes)
    inner = "" if preserve and tag != "union" else newline + "  "
    starts_with_text = children and isinstance(children[0], PromptText)
    pieces = [_tag(tag, attributes, "")]
    pieces += [("" if starts_with_text else inner) + declaration for declaration in declarations]
    after_tag = True
    for child in children:
        if isinstance(child, PromptText):
            pieces.append(_escaped(child.text))
        else:
            pieces.append((inner if after_tag else "") + _node(child, newline + "  ", preserve))
        after_tag = not isinstance(child, PromptText)
    return "".join(pieces) + (newline if inner and after_tag else "") + f"</{tag}>"


def _node(
    node: "PromptRole[SchemaNode] | PromptRole[PromptNode] | PromptParameter | PromptModule"
    " | PromptUnion | PromptImport",
    newline: str,
    preserve: bool,
) -> str:
    match node:
        case PromptRole():
            return _element(node.role, {}, node.children, newline, preserve)
        case PromptModule():
            cache = None if node.cache else "false"
            attributes = {"name": node.name, "cache": cache}
            return _element("module", attributes, node.children, newline, preserve)
        case PromptUnion():
            required = "true" if node.required else None
            attributes = {"scaffold": node.scaffold, "required": required}
            return _element("union", attributes, node.members, newline, preserve)
        case PromptImport():
            return _import(node, newline, preserve)
        case _:
            length = str(node.length)
            attributes = {"name": node.name, "len": length}
            return _tag("param", attributes | {"default": node.default, "scaffold": node.scaffold})


def _import(node: PromptImport, newline: str, preserve: bool) -> str:
    """By its own tag if that is one. It has no `space` of its own: that would be an argument."""
    by_name = _TAG.fullmatch(node.name) and node.name not in RESERVED
    own = {} if by_name else {"module": node.name}
    attributes, arguments = _arguments(node, own, tuple(own))
    tag = node.name if by_name else "use"
    return _with_content(tag, attributes, node.children, newline, preserve, arguments)


def _arguments(
    node: Prompt | PromptImport, own: dict[str, str], taken: tuple[str, ...]
) -> tuple[dict[str, str | None], list[str]]:
    """The attributes of the tag, its arguments among them where they fit, and the other ones."""
    attributes: dict[str, str | None] = {**own}
    elements = []
    few = len(node.arguments) <= _MOST_ATTRIBUTES
    for name, argument in node.arguments.items():
        if few and name not in taken and _TAG.fullmatch(name) and "\n" not in argument.text:
            attributes[name] = argument.text
        else:
            text = (PromptText(argument.text),) if argument.text else ()
            space = "preserve" if _must_preserve(text, False) else None
            own_attributes = {"name": name, "space": space}
            elements.append(_with_content("arg", own_attributes, text, "", True, ()))
    return attributes, elements


def _must_preserve(children: Children, inherited: bool) -> bool:
    """Whether the rule would change a text among these; without one `space` stays as it is."""
    changed = [text != normalised(text, **ends) for text, ends in _texts(children)]
    return any(changed) if changed else inherited


def _texts(children: Children) -> Iterator[tuple[str, dict[str, bool]]]:
    """The texts that an element's `space` is for, and which ends of their parents they are at."""
    last = len(children) - 1
    for index, child in enumerate(children):
        if isinstance(child, PromptText):
            yield child.text, {"first": index == 0, "last": index == last}
        elif isinstance(child, PromptImport):
            yield from _texts(child.children)


def _tag(tag: str, attributes: Mapping[str, str | None], close: str = "/") -> str:
    given = [
        f'{name}="{_quoted(value)}"' for name, value in attributes.items() if value is not None
    ]
    return f"<{' '.join([tag, *given])}{close}>"


def _escaped(text: str) -> str:
    """Text between tags. A carriage return must be a reference: XML reads a plain one as LF."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;")
    return text.replace("\r", "&#13;")


def _quoted(value: str) -> str:
    """An attribute's value; XML reads white space there as blanks unless it is a reference."""
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return value.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")
