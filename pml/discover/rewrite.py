"""A prompt rewritten against a schema: modules where their text stands, all else as new text.

Nothing is lost: the text of the rewritten prompt, its modules' and arguments' put in, is that of
the original, character by character, turn by turn. That is checked at the end of every rewriting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pml.discover.flat import CLOSE, OPEN, ROLE_OF, Turn, flatten, nodes
from pml.discover.patterns import Count, Finder, Found, patterns_of
from pml.discover.tokens import estimated_tokens
from pml.nodes import Argument, Prompt, PromptImport, PromptNode, PromptRole, PromptText, Schema


class Rewriter:
    """Rewrites prompts against one schema; `count` tells whether an argument fits its slot.

    In the fixed layout modules are taken in the schema's order and before any new text, so that
    there is room for it; in the packed layout anywhere. Raises PMLError for a schema that puts
    something into every prompt.
    """

    def __init__(self, schema: Schema, count: Count = estimated_tokens) -> None:
        self.schema = schema
        self.patterns = {pattern.name: pattern for pattern in patterns_of(schema)}
        packed = schema.layout == "packed"
        self._finder = Finder([*self.patterns.values()], count, packed=packed)

    def rewrite(self, prompt: str | Sequence[Turn]) -> Prompt:
        """The prompt, a text or a chat's turns, with all taken from the schema that it has.

        Raises PMLError where the prompt holds a character that no PML can hold.
        """
        return self.rewrite_flat(flatten(prompt))

    def rewrite_flat(self, flat: str) -> Prompt:
        """As `rewrite`, of a flat prompt."""
        rewritten = self._prompt(self._finder.pieces(flat))
        return rewritten if self.flat(rewritten) == flat else self._prompt(nodes(flat))

    def flat(self, prompt: Prompt) -> str:
        """What a rewritten prompt says, its modules' texts put in, as one string."""
        return "".join(self._said(prompt.children))

    def _said(self, children: Sequence[PromptNode]) -> Iterator[str]:
        for node in children:
            if isinstance(node, PromptText):
                yield node.text
            elif isinstance(node, PromptRole):
                yield OPEN[node.role] + "".join(self._said(node.children)) + CLOSE
            else:
                pattern = self.patterns[node.name]
                yield pattern.filled(node.arguments[p.name].text for p in pattern.parameters)

    def _prompt(self, pieces: Iterable[str | Found]) -> Prompt:
        top: list[PromptNode] = []
        inside, role = top, ""
        for piece in pieces:
            if isinstance(piece, Found):
                inside.append(_import(piece))
            elif piece in ROLE_OF:
                inside, role = [], piece
            elif piece == CLOSE:
                top.append(PromptRole(ROLE_OF[role], tuple(inside)))
                inside = top
            else:
                inside.append(PromptText(piece))
        return Prompt(self.schema.name, {}, tuple(top))


def rewrite(
    prompt: str | Sequence[Turn], schema: Schema, count: Count = estimated_tokens
) -> Prompt:
    """One prompt against a schema; take a `Rewriter` for many.

    >>> from pml.schema import parse_schema
    >>> schema = parse_schema(
    ...     '<schema name="s" layout="packed"><module name="rule">Be brief.</module></schema>'
    ... )
    >>> rewrite("Be brief. Why?", schema).children
    (PromptImport(name='rule', arguments={}, children=()), PromptText(text=' Why?'))
    """
    return Rewriter(schema, count).rewrite(prompt)


def _import(found: Found) -> PromptImport:
    values = zip(found.pattern.parameters, found.values, strict=True)
    return PromptImport(
        found.pattern.name, {parameter.name: Argument(value) for parameter, value in values}
    )
