"""What a schema saves on a log: which prompts use each module, how many tokens are reused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pml.discover.patterns import Count
from pml.discover.rewrite import Rewriter
from pml.nodes import Prompt, PromptImport, PromptNode, PromptRole, PromptText

_SAMPLE = 1_000_000


@dataclass(frozen=True)
class ModuleUse:
    """A module, and how many prompts import it; `union` is the number of its union."""

    name: str
    tokens: int
    parameters: int
    union: int | None
    prompts: int
    imports: int


@dataclass(frozen=True)
class Report:
    """Modules by what they save; `fresh` are the tokens of new text and arguments."""

    layout: str
    prompts: int
    modules: tuple[ModuleUse, ...]
    fresh: int

    @property
    def reused(self) -> int:
        """Tokens of modules in all prompts."""
        return sum(module.tokens * module.imports for module in self.modules)

    @property
    def share(self) -> float:
        """Of all tokens of the prompts those that are reused."""
        return self.reused / max(1, self.reused + self.fresh)


class Tally:
    """Counts rewritten prompts, one after another, into a report.

    The tokens of modules are counted. New text is so up to a million characters of it, and then
    taken to have as many characters to a token as these.
    """

    def __init__(self, rewriter: Rewriter, count: Count) -> None:
        self._rewriter, self._count = rewriter, count
        self._prompts = self._characters = self._sampled = self._tokens = 0
        self._uses: Counter[str] = Counter()
        self._imports: Counter[str] = Counter()

    def add(self, prompt: Prompt) -> None:
        names: list[str] = []
        for node in _walk(prompt.children):
            if isinstance(node, PromptImport):
                names.append(node.name)
                for argument in node.arguments.values():
                    self._fresh(argument.text)
            else:
                self._fresh(node.text)
        self._prompts += 1
        self._imports.update(names)
        self._uses.update(set(names))

    def _fresh(self, text: str) -> None:
        self._characters += len(text)
        if self._sampled < _SAMPLE:
            self._sampled += len(text)
            self._tokens += self._count(text)

    def report(self) -> Report:
        uses = [
            ModuleUse(
                pattern.name,
                sum(map(self._count, pattern.literals)),
                len(pattern.parameters),
                pattern.union,
                self._uses[pattern.name],
                self._imports[pattern.name],
            )
            for pattern in self._rewriter.patterns.values()
        ]
        uses.sort(key=lambda use: -use.tokens * use.imports)
        fresh = round(self._tokens * self._characters / max(1, self._sampled))
        layout = self._rewriter.schema.layout or "fixed"
        return Report(layout, self._prompts, tuple(uses), fresh)


def _walk(children: Sequence[PromptNode]) -> Iterator[PromptText | PromptImport]:
    for node in children:
        if isinstance(node, PromptRole):
            yield from _walk(node.children)
        else:
            yield node
