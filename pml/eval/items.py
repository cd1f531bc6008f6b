"""One question over a few documents, as it is asked: a schema and a prompt of PML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pml.build import module, param, prompt, scaffold, schema, use
from pml.nodes import Prompt, PromptModule, Schema

NAME = "item"
ARGUMENT_WORDS = 2

Tokenise = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Item:
    """`needed` are the documents that the answer takes, `left_out` those that the schema declares
    and no prompt imports. The answer goes on behind `lead`."""

    id: str
    documents: tuple[str, ...]
    needed: tuple[int, ...]
    question: str
    answers: tuple[str, ...]
    lead: str = ""
    left_out: tuple[str, ...] = ()

    def limited(self, count: int) -> Item:
        """With `count` documents at most: those that are needed, and the first of the others."""
        if count >= len(self.documents):
            return self
        others = [n for n in range(len(self.documents)) if n not in self.needed]
        kept = sorted([*self.needed, *others[: max(0, count - len(self.needed))]])
        return replace(
            self,
            documents=tuple(self.documents[n] for n in kept),
            needed=tuple(kept.index(n) for n in self.needed),
        )


@dataclass(frozen=True)
class Form:
    """How an item is put to a model: what comes before the documents, between them, and between
    question and answer."""

    instruction: str
    separator: str = "\n"

    def schema(
        self, item: Item, *, scaffolded: bool = False, slots: Tokenise | None = None
    ) -> Schema:
        """Every document a module; those that are left out stand before the others.

        With `slots` the first words of a document are an argument, its slot as long as they are.
        """
        left_out = [
            module(f"other{n}", text + self.separator) for n, text in enumerate(item.left_out)
        ]
        names = [f"d{n}" for n in range(len(item.documents))]
        documents = [
            self._document(name, text, slots)
            for name, text in zip(names, item.documents, strict=True)
        ]
        passes = [scaffold(*names)] if scaffolded else []
        return schema(NAME, self.instruction, *left_out, *documents, *passes)

    def _document(self, name: str, text: str, slots: Tokenise | None) -> PromptModule:
        if slots is None:
            return module(name, text + self.separator)
        argument, rest = _first_words(text)
        return module(name, param("words", len(slots(argument))), rest + self.separator)

    def prompt(self, item: Item, *, slots: bool = False) -> Prompt:
        question = f"Question: {item.question}{self.separator or ' '}Answer:"
        text = f"{question} {item.lead}" if item.lead else question
        imports = [
            use(f"d{n}", **({"words": _first_words(document)[0]} if slots else {}))
            for n, document in enumerate(item.documents)
        ]
        return prompt(NAME, *imports, text)


def _first_words(text: str) -> tuple[str, str]:
    """The first words of a text, and what follows them.

    >>> _first_words("Ada Bell works here.")
    ('Ada Bell', ' works here.')
    """
    words = " ".join(text.split(" ", ARGUMENT_WORDS)[:ARGUMENT_WORDS])
    return words, text[len(words) :]
