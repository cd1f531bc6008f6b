"""Where two texts meet and joint tokenisation would differ: the lint `token-boundary`.

Every text is tokenised alone, so that its tokens are the same in every prompt. Where a word runs
across the boundary, or a blank ends one text instead of beginning the next, the model reads tokens
that it has hardly seen side by side:

    "We go to " + "Rome"    alone 'We'·' go'·' to'·' ' + 'Rome', joined 'We'·' go'·' to'·' Rome'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from minillm.tokenizer import Tokenizer
from pml.diagnostics import Diagnostic
from pml.errors import Location, Related, quoted
from pml.layout import name_of
from pml.nodes import (
    ModulePath,
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
)

Arguments = Mapping[tuple[ModulePath, str], Sequence[str]]
"""What prompts give for the parameter of that name of that owner."""

_NEAR = 40
"""So many characters on either side decide: no tokenizer looks further across a boundary."""
_MOST_NEIGHBOURS = 16


@dataclass(frozen=True, slots=True)
class _Edge:
    """The end, or the beginning, of a text, and whose it is."""

    text: str
    owner: str
    at: Location = field(compare=False)


def boundary_warnings(
    schema: Schema, tokenizer: Tokenizer, arguments: Arguments
) -> Iterator[Diagnostic]:
    """One warning for each text that some neighbour after it would be tokenised with differently.

    Chat markers stand between their neighbours; modules and unions that a prompt may leave out
    have the texts around them for neighbours too.
    """
    found: dict[_Edge, list[tuple[_Edge, str]]] = {}
    for before, after in _meetings(schema.children, (), arguments):
        difference = _difference(tokenizer, before.text[-_NEAR:], after.text[:_NEAR])
        if difference:
            found.setdefault(before, []).append((after, difference))
    for before, others in found.items():
        after, difference = others[0]
        more = f" (and {len(others) - 1} more that may follow)" if len(others) > 1 else ""
        meeting = f"text of {before.owner} meets text of {after.owner}{more}"
        yield Diagnostic(
            "token-boundary",
            f"{meeting}: {difference}; {_advice(before, after)}",
            after.at,
            severity="warning",
            related=(Related(before.at, f"the text of {before.owner}"),),
        )


def _advice(before: _Edge, after: _Edge) -> str:
    if before.text[-1].isspace() and after.text[0].isspace():
        return "leave the white space to one of them"
    if before.text[-1].isspace():
        return "begin the second with the blank instead of ending the first with it"
    return "put a blank or a line break between them"


def _difference(tokenizer: Tokenizer, before: str, after: str) -> str:
    """How the tokens around the boundary would differ, or nothing."""
    first, second = tokenizer.encode(before), tokenizer.encode(after)
    joined = tokenizer.encode(before + after)
    if first + second == joined:
        return ""
    alone = first + second
    same = min(_common(alone, joined), len(first) - 1)  # so that both sides are shown
    rest = min(_common(alone[same:][::-1], joined[same:][::-1]), len(second) - 1)

    def shown(ids: Sequence[int]) -> str:
        return "·".join(quoted(tokenizer.decode([token]), 24) for token in ids)

    left, right = first[same:], second[: len(second) - rest]
    whole = joined[same : len(joined) - rest]
    return f"alone {shown(left)} + {shown(right)}, joined {shown(whole)}"


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _meetings(
    children: Sequence[SchemaNode], owner: ModulePath, arguments: Arguments
) -> Iterator[tuple[_Edge, _Edge]]:
    """The texts that may come one right after the other, inside of these children."""
    always: list[_Edge] = []
    before: list[_Edge] = []
    for node in _spliced(children):
        pairs = ((one, other) for one in before for other in _edges([node], owner, arguments, 1))
        yield from islice(pairs, _MOST_NEIGHBOURS**2)
        for inner, path in _inside(node, owner):
            yield from _meetings(inner, path, arguments)
        last = _edges([node], owner, arguments, -1)
        if not _may_be_left_out(node):
            always = last
        before = [*always, *last] if last is not always else last


def _edges(
    children: Sequence[SchemaNode], owner: ModulePath, arguments: Arguments, step: int
) -> list[_Edge]:
    """What may come first (`step` 1) or last (-1) among these children."""
    found: list[_Edge] = []
    for node in list(_spliced(children))[::step]:
        if isinstance(node, PromptText):
            found.append(_Edge(node.text, name_of(owner), node.at))
        elif isinstance(node, PromptParameter):
            texts = [*arguments.get((owner, node.name), ()), node.default or ""]
            name = name_of(owner, node.name)
            found += [_Edge(text, name, node.at) for text in dict.fromkeys(texts) if text]
        elif not isinstance(node, PromptRole):
            for inner, path in _inside(node, owner):
                found += _edges(inner, path, arguments, step)
        if not _may_be_left_out(node) or len(found) >= _MOST_NEIGHBOURS:
            break
    return found[:_MOST_NEIGHBOURS]


def _inside(
    node: SchemaNode, owner: ModulePath
) -> Iterator[tuple[tuple[SchemaNode, ...], ModulePath]]:
    """The children of a node, of each member if it is a union, and whose they are."""
    if isinstance(node, PromptUnion):
        for member in node.members:
            yield from _inside(member, owner)
    elif isinstance(node, PromptModule):
        yield node.children, owner if node.name is None else (*owner, node.name)
    elif isinstance(node, PromptRole):
        yield node.children, owner


def _spliced(children: Sequence[SchemaNode]) -> Iterator[SchemaNode]:
    """The children, those of anonymous modules in their place."""
    for node in children:
        if isinstance(node, PromptModule) and node.name is None:
            yield from _spliced(node.children)
        else:
            yield node


def _may_be_left_out(node: SchemaNode) -> bool:
    return isinstance(node, PromptModule) or (isinstance(node, PromptUnion) and not node.required)
