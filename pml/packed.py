"""The layout `packed`: a prompt's content one after another, in the prompt's own order.

    schema     <system> ┤ a ├ ┤ b ├ </system>        prompt     <b/> then <a/> Go!

    positions  ├ <system> ┤├ b ┤├ then ┤├ a ┤├ </system> ┤├ Go! ┤

Before an import comes what its owner's own text (for the prompt: the anonymous text) holds before
it and is not yet placed. The rest of it closes the owner's tag; in the prompt itself, it comes
before the last text. New text stands right behind the import that it follows. Nothing stays empty
but the rest of a slot. Modules may come in any order, and again; all of it must fit the model's
context, whatever the schema's length.
"""

from __future__ import annotations

from minillm.tokenizer import Tokenizer
from pml.asked import Asked, NewText
from pml.layout import Layout, Section
from pml.placement import PROMPT, Fresh, Placement


def place_packed(asked: Asked, layout: Layout, tokenizer: Tokenizer, start: int = 0) -> Placement:
    """What is asked for, from position `start` on. What stands before it, in a chat that goes on,
    holds all anonymous text already.

    Raises `PMLPromptError` for an argument that is longer than its slot.
    """
    packer = _Packer(layout, tokenizer, start)
    packer.tag(asked)
    return packer.placement


class _Packer:
    def __init__(self, layout: Layout, tokenizer: Tokenizer, start: int) -> None:
        self.layout = layout
        self.tokenizer = tokenizer
        self.placement = Placement()
        self.start = self.position = start

    def tag(self, asked: Asked) -> None:
        """The content of an import, or of the whole prompt."""
        section = self.layout.sections[asked.path]
        goes_on = asked.path == () and self.start > 0
        placed = len(section.spans) if goes_on else 0
        for index, inner in enumerate(asked.imports):
            if index:
                self.text(asked, asked.texts[index])
            placed = self.own(asked, section, placed, self.layout.sections[inner.path].first)
            if not index:
                self.text(asked, asked.texts[0])
            self.tag(inner)
        is_behind_import = asked.path != () and asked.imports
        if is_behind_import:
            self.text(asked, asked.texts[-1])
        self.own(asked, section, placed, len(self.layout.spans))
        if not is_behind_import:
            self.text(asked, asked.texts[-1])

    def own(self, asked: Asked, section: Section, placed: int, before: int) -> int:
        """The section's spans from number `placed` on that are declared before span `before`; how
        many are placed then."""
        while placed < len(section.spans) and section.spans[placed].index < before:
            span = section.spans[placed]
            self.placement.stand(section, span, self.position, asked, self.tokenizer)
            self.position += len(span.tokens)
            placed += 1
        return placed

    def text(self, asked: Asked, text: NewText) -> None:
        if text.tokens:
            fresh = Fresh(
                PROMPT, asked.path, self.position, tuple(text.tokens), tuple(text.lengths)
            )
            self.placement.fresh.append(fresh)
            self.position = fresh.stop
