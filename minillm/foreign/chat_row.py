"""A chat template as a row of parts: what it writes (=), what it inserts ($), its statements (%).

Templates that do the same are written in many ways: with other quotes, with `message.role` for
`message['role']`, as one expression or as several. In the row such differences are gone.

>>> row('{% for m in messages %}{{ "<" ~ m.role + ">" }}{{ m.content | trim }}{% endfor %}')
('%for m in messages', '=<', "$m['role']", '=>', "$m['content']", '%endfor')
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_INSIDE = rf"""((?:{_STRING}|[^'"])*?)"""
_TAG = re.compile(
    rf"\{{%([-+]?){_INSIDE}([-+]?)%\}}|\{{\{{(-?){_INSIDE}(-?)\}}\}}|\{{#([-+]?)(.*?)([-+]?)#\}}",
    re.S,
)
_TOKEN = re.compile(rf"(?P<string>{_STRING})|\w+|\S", re.S)
_ESCAPE = re.compile(r"\\(.)", re.S)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
# Whether a message loses its outer blanks makes no other markers; a default for an unset variable
# has no effect.
_NO_MATTER = re.compile(r"\|trim\b|\.strip\(\)")
_REFUSAL = re.compile(rf"^raise_exception\((?:{_STRING})\)$", re.S)
_DEFAULT_ASK = (
    "%if not add_generation_prompt is defined",
    "%set add_generation_prompt=false",
    "%endif",
)


def row(template: str) -> tuple[str, ...]:
    """The parts in their order, what is written between two others as one."""
    parts: list[str] = []
    for part in _parts(template):
        if part.startswith("=") and parts and parts[-1].startswith("="):
            parts[-1] += part[1:]
        elif part != "=":
            parts.append(part)
        if tuple(parts[-3:]) == _DEFAULT_ASK:
            del parts[-3:]
    return tuple(parts)


def _parts(template: str) -> Iterator[str]:
    at, strips, ends_block = 0, False, False
    for tag in _TAG.finditer(template):
        kind = tag[0][1]  # the other alternatives' groups are None
        left, inside, right = (group for group in tag.groups() if group is not None)
        yield f"={_text(template[at : tag.start()], at == 0, strips, ends_block, kind, left)}"
        if kind == "{":
            yield from _inserted(inside)
        elif kind == "%":
            yield f"%{_plain(_TOKEN.finditer(inside))}"
        at, strips, ends_block = tag.end(), right == "-", kind != "{" and right != "+"
    yield f"={_text(template[at:], at == 0, strips, ends_block)}"


def _text(
    raw: str, is_first: bool, strips: bool, ends_block: bool, kind: str = "{", left: str = ""
) -> str:
    """The text before a tag of some `kind`, without the blanks that Jinja drops.

    A sign `-` drops all on its side. As chat templates are rendered, a statement also drops the
    line break after it, and the blanks before it where it begins a line.
    """
    raw = raw.lstrip() if strips else raw
    raw = raw.removeprefix("\n") if ends_block and not strips else raw
    if left == "-":
        return raw.rstrip()
    lines, newline, last = raw.rpartition("\n")
    begins_line = bool(newline) or is_first or ends_block
    if kind != "{" and left != "+" and begins_line and not last.strip(" \t"):
        return lines + newline
    return raw


def _inserted(expression: str) -> Iterator[str]:
    """The terms that an expression joins with + or ~."""
    terms: list[list[re.Match[str]]] = [[]]
    depth = 0
    for token in _TOKEN.finditer(expression):
        depth += (token[0] in "([{") - (token[0] in ")]}") if len(token[0]) == 1 else 0
        if token[0] in "+~" and not depth:
            terms.append([])
        else:
            terms[-1].append(token)
    for term in terms:
        if len(term) == 1 and term[0]["string"]:
            yield f"={_unescaped(term[0][0])}"
        else:
            yield f"${_plain(iter(term))}"


def _plain(tokens: Iterator[re.Match[str]]) -> str:
    """An expression or statement in one spelling: blanks between words, one kind of quote."""
    spelled = ""
    for token in tokens:
        text = repr(_unescaped(token[0])) if token["string"] else token[0]
        spelled += f" {text}" if spelled[-1:].isalnum() and text[0].isalnum() else text
    spelled = re.sub(r"\.(role|content)\b", r"['\1']", spelled)
    # What it says when it refuses a conversation does not matter.
    return _REFUSAL.sub("raise_exception()", _NO_MATTER.sub("", spelled))


def _unescaped(string: str) -> str:
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), string[1:-1])
