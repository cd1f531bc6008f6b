"""The texts of a program: what a string or an f-string says, piece by piece."""

import ast
import textwrap

from pml.errors import PMLSyntaxError
from pml.program.source import ProgramFile
from pml.source import read_source

_HOLE = "\0"
"""Stands for a `{name}` while margins are taken away; no text holds it, since XML has no NUL."""


def text_parts(node: ast.Constant | ast.JoinedStr, file: ProgramFile) -> list[str | ast.expr]:
    """The literal parts of a text and the expressions between them, in order.

    A text whose opening quotes end their line is a block: that line break and the margin that its
    lines share (the closing quotes among them) are no part of it. Any other is what Python says.
    Raises PMLProgramError for a format, and for characters that no PML can hold.
    """
    parts: list[str | ast.expr] = []
    for value in node.values if isinstance(node, ast.JoinedStr) else (node,):
        if isinstance(value, ast.FormattedValue):
            if value.conversion != -1 or value.format_spec is not None:
                advice = "an argument is put in as it is; write {name} only"
                raise file.error(f"a format in an f-string; {advice}", node)
            parts.append(value.value)
        else:
            assert isinstance(value, ast.Constant)
            parts.append(_checked(str(value.value), node, file))
    return _without_margin(parts) if file.starts_block(node) else parts


def _checked(text: str, node: ast.expr, file: ProgramFile) -> str:
    try:
        read_source(text, file.name, len(text) * 4)
    except PMLSyntaxError as error:
        raise file.error(f"in this text: {error.message}", node) from None
    return text


def _without_margin(parts: list[str | ast.expr]) -> list[str | ast.expr]:
    joined = "".join(part if isinstance(part, str) else _HOLE for part in parts)
    first, *rest = textwrap.dedent(joined.removeprefix("\n")).split(_HOLE)
    expressions = (part for part in parts if not isinstance(part, str))
    found: list[str | ast.expr] = [first]
    for expression, text in zip(expressions, rest, strict=True):
        found += [expression, text]
    return found
