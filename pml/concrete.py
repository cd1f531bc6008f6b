"""A document as it is written: every tag, comment, CDATA section and character, in a tree.

`pml.markup` says what a document means, and that it is well formed; this tree says how it looks,
for `pml.formatting`. Lines end in LF, as XML reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<comment> <!--.*?--> | <\?.*?\?> )
      | <!\[CDATA\[ (?P<cdata> .*? ) \]\]>
      | </ (?P<close> [^\s>]+ ) \s* >
      | < (?P<open> [^\s<>/"'=]+ ) (?P<attributes> (?: \s+ [^\s=]+ \s*=\s* (?:"[^"]*"|'[^']*') )* )
          \s* (?P<empty> /? ) >
      | (?P<text> [^<]+ )""",
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_REFERENCE = re.compile(r"&(?:#x([0-9A-Fa-f]+)|#([0-9]+)|(\w+));")
_BLANKS = str.maketrans("\t\n", "  ")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A comment (or the XML declaration), a CDATA section or a text: as written, and what it means
    as text, which for a comment is nothing."""

    written: str
    text: str
    is_comment: bool = False


@dataclass(slots=True)
class Node:
    """An element; `attributes` have their values in quotes, as written."""

    tag: str
    attributes: dict[str, str]
    content: list[Node | Piece] = field(default_factory=list)


def read_concrete(text: str) -> list[Node | Piece]:
    """The root element and what stands before and after it, of a document that is well formed."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    top: list[Node | Piece] = []
    open_contents = [top]
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "close":
                open_contents.pop()
            case "comment":
                open_contents[-1].append(Piece(token[0], "", is_comment=True))
            case "cdata":
                open_contents[-1].append(Piece(token[0], token["cdata"]))
            case "text":
                open_contents[-1].append(Piece(token[0], _REFERENCE.sub(_character, token[0])))
            case _:
                node = Node(token["open"], dict(_ATTRIBUTE.findall(token["attributes"])))
                open_contents[-1].append(node)
                if not token["empty"]:
                    open_contents.append(node.content)
    return top


def opening(tag: str, attributes: dict[str, str], *, closed: bool) -> str:
    """An opening tag on one line, values in double quotes."""
    given = [f"{name}={_double_quoted(value)}" for name, value in attributes.items()]
    return f"<{' '.join([tag, *given])}{'/' if closed else ''}>"


def _double_quoted(value: str) -> str:
    """White space in a value means a blank, unless it is a reference."""
    inner = value[1:-1].translate(_BLANKS)
    return '"' + inner.replace('"', "&quot;") + '"'


def _character(reference: re.Match[str]) -> str:
    hexadecimal, decimal, name = reference.groups()
    return _NAMED[name] if name else chr(int(hexadecimal or decimal, 16 if hexadecimal else 10))
