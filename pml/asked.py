"""What a prompt asks for, in its own order: imports with their arguments, runs of new text between.

A role tag is no part of this tree: its markers join the text around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from minillm.tokenizer import Tokenizer
from pml.errors import Location
from pml.layout import Layout, last_role, role_markers
from pml.prompt import Argument, Prompt, PromptNode
from pml.schema import ModulePath, PromptRole, PromptText


@dataclass
class NewText:
    """A run of new text; `at` is where it begins, `lengths` those of its texts and markers."""

    at: Location
    tokens: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def add(self, tokens: Sequence[int]) -> None:
        if tokens:
            self.tokens += tokens
            self.lengths.append(len(tokens))


@dataclass(eq=False)
class Asked:
    """An import, or the prompt itself at (): run i of `texts` stands before import i, the last run
    after all of them. A run may be empty."""

    path: ModulePath
    arguments: Mapping[str, Argument]
    texts: list[NewText]
    imports: list[Asked] = field(default_factory=list)

    def all(self) -> Iterator[Asked]:
        """This one and all imports inside, in the prompt's order."""
        yield self
        for inner in self.imports:
            yield from inner.all()


class Reader:
    """Reads a prompt; `before` is the role of the last turn so far."""

    def __init__(self, layout: Layout, tokenizer: Tokenizer, before: str | None) -> None:
        self.layout, self.tokenizer, self.before = layout, tokenizer, before
        self.last_role: str | None = None
        """The role that the last text, a role's markers being text too, stands in."""

    @property
    def is_asking(self) -> bool:
        """Whether what was read asks the assistant for an answer."""
        return self.last_role == "user"

    def prompt(self, prompt: Prompt) -> Asked:
        """Tokenise each text of `prompt` alone. If the last text stands in a `<user>`, or a turn of
        the user comes last, what asks the assistant for an answer follows it.

        Raises `PMLError` for a role tag when the tokenizer has no markers for that role.
        """
        root = Asked((), prompt.arguments, [NewText(prompt.at)])
        self.read(prompt.children, root, None)
        if self.is_asking:
            markers = role_markers(self.tokenizer, "assistant", prompt.at)
            root.texts[-1].add(markers.asking)
        return root

    def read(self, children: Sequence[PromptNode], tag: Asked, role: str | None) -> None:
        for child in children:
            if isinstance(child, PromptText):
                self.extend(tag, self.tokenizer.encode(child.text), child.at)
                self.last_role = role
            elif isinstance(child, PromptRole):
                markers = role_markers(self.tokenizer, child.role, child.at)
                self.extend(tag, markers.opening(self.before), child.at)
                self.read(child.children, tag, child.role)
                self.extend(tag, markers.close, child.at)
                self.last_role = self.before = child.role
            else:
                path = (*tag.path, child.name)
                self.before = last_role(self.layout.sections[path].module) or self.before
                inner = Asked(path, child.arguments, [NewText(child.at)])
                self.read(child.children, inner, role)
                tag.imports.append(inner)
                tag.texts.append(NewText(child.at))

    def extend(self, tag: Asked, tokens: Sequence[int], at: Location) -> None:
        run = tag.texts[-1]
        run.at = run.at if run.tokens else at
        run.add(tokens)
