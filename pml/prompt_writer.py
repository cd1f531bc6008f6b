"""A `Prompt` back to PML, so that parsing gives an equal prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from pml.nodes import Argument, Prompt, PromptImport, PromptNode, PromptRole, PromptText
from pml.schema_reader import RESERVED

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_REFERENCES = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
"""XML reads these in an attribute as blanks, unless they are references."""


def write_prompt(prompt: Prompt) -> str:
    """PML whose parse is equal to the prompt; every blank of its text counts.

    Texts side by side are read as one, and control characters not at all.

    >>> write_prompt(Prompt("s", {}, (PromptImport("rule"), PromptText(" Why?"))))
    '<prompt schema="s" space="preserve"><rule/> Why?</prompt>'
    """
    own = {"schema": prompt.schema, "space": "preserve"}
    return _element("prompt", own, prompt.arguments, prompt.children)


def _node(node: PromptNode) -> str:
    match node:
        case PromptText():
            return _escaped(node.text)
        case PromptRole():
            return _element(node.role, {}, {}, node.children)
        case PromptImport() if _NAME.fullmatch(node.name) and node.name not in RESERVED:
            return _element(node.name, {}, node.arguments, node.children)
        case _:
            return _element("use", {"module": node.name}, node.arguments, node.children)


def _element(
    tag: str,
    own: Mapping[str, str],
    arguments: Mapping[str, Argument],
    children: tuple[PromptNode, ...],
) -> str:
    attributes, inner = dict(own), ""
    for name, argument in arguments.items():
        if _NAME.fullmatch(name) and name not in own:
            attributes[name] = argument.text
        else:
            inner += f"<arg name={_quoted(name)}>{_escaped(argument.text)}</arg>"
    opening = " ".join([tag, *(f"{name}={_quoted(text)}" for name, text in attributes.items())])
    inner += "".join(map(_node, children))
    return f"<{opening}>{inner}</{tag}>" if inner else f"<{opening}/>"


def _escaped(text: str) -> str:
    """Text between tags. A carriage return must be a reference: XML reads a plain one as LF."""
    return escape(text, {"\r": "&#13;"})


def _quoted(value: str) -> str:
    return quoteattr(value, _REFERENCES)
