"""One question over a few documents, as it is asked: a schema and a prompt of PML."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pml.build import module, prompt, scaffold, schema, use
from pml.nodes import Prompt, Schema

NAME = "item"


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

    def schema(self, item: Item, *, scaffolded: bool = False) -> Schema:
        """Every document a module; those that are left out stand before the others."""
        left_out = [
            module(f"other{n}", text + self.separator) for n, text in enumerate(item.left_out)
        ]
        names = [f"d{n}" for n in range(len(item.documents))]
        documents = [
            module(name, text + self.separator)
            for name, text in zip(names, item.documents, strict=True)
        ]
        passes = [scaffold(*names)] if scaffolded else []
        return schema(NAME, self.instruction, *left_out, *documents, *passes)

    def prompt(self, item: Item) -> Prompt:
        question = f"Question: {item.question}{self.separator or ' '}Answer:"
        text = f"{question} {item.lead}" if item.lead else question
        return prompt(NAME, *(use(f"d{n}") for n in range(len(item.documents))), text)
