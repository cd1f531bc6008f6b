"""A prompt in place: which spans of the schema it selects, its arguments and new text, and where.

What both layouts share; `fixed.py` and `packed.py` give the positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from minillm.tokenizer import Tokenizer
from pml.asked import Asked
from pml.errors import PMLPromptError
from pml.layout import Section, Span, name_of
from pml.prompt import Argument
from pml.schema import ModulePath, parameters_of

PROMPT = "prompt"
"""How the prompt's own text is called among the paths of a plan."""


@dataclass(frozen=True)
class Fresh:
    """Tokens to compute at consecutive positions from `start`, which belong to `owner`.

    `lengths` are those of the texts and markers in it that were tokenised alone; () for one.
    """

    path: str
    owner: ModulePath
    start: int
    tokens: tuple[int, ...]
    lengths: tuple[int, ...] = ()

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)

    def split(self) -> Iterator[Fresh]:
        """Each of its texts and markers by itself."""
        first = 0
        for length in self.lengths or (len(self.tokens),):
            tokens = self.tokens[first : first + length]
            yield Fresh(self.path, self.owner, self.start + first, tokens)
            first += length


@dataclass(frozen=True)
class Standing:
    """A selected span of the schema, the slots of arguments among them, its first position, and
    the import that selects it."""

    span: Span
    start: int
    tag: Asked


@dataclass
class Placement:
    """`standing` in the order in which the prompt holds them; `fresh`: arguments and new text."""

    standing: list[Standing] = field(default_factory=list)
    fresh: list[Fresh] = field(default_factory=list)

    def stand(
        self, section: Section, span: Span, start: int, tag: Asked, tokenizer: Tokenizer
    ) -> int:
        """Place a span of `section`, a slot with its argument; the position after what is there.

        Raises `PMLPromptError` for an argument that is longer than its slot.
        """
        self.standing.append(Standing(span, start, tag))
        if span.parameter is None:
            return start + len(span.tokens)
        tokens = _argument(section, span, tag.arguments, tokenizer)
        if tokens:
            path = name_of(span.owner, span.parameter)
            self.fresh.append(Fresh(path, span.owner, start, tokens))
        return start + len(tokens)


def _argument(
    section: Section, span: Span, given: Mapping[str, Argument], tokenizer: Tokenizer
) -> tuple[int, ...]:
    """The argument's tokens, or those of the parameter's default."""
    parameter = parameters_of(section.module)[span.parameter or ""]
    argument = given.get(parameter.name)
    tokens = tokenizer.encode(argument.text if argument else parameter.default or "")
    if argument and len(tokens) > parameter.length:
        raise PMLPromptError(
            f"argument {parameter.name!r} has {len(tokens)} tokens, its parameter holds "
            f"{parameter.length}; shorten it or raise len in the schema ({parameter.at})",
            argument.at,
            code="argument-length",
        )
    return tuple(tokens)
