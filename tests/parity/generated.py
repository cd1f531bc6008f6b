"""Schemas and prompts drawn at random: nested modules, unions, parameters, roles, new text.

The texts are stretches of a story, so that the model reads what it was trained on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

STORY = (Path(__file__).parent / "texts" / "a_scandal_in_bohemia.txt").read_text(encoding="utf-8")
WORDS = STORY.split()
SLOT = 20
"""Tokens of a parameter: enough for any four words of the story."""


@dataclass
class Module:
    """A drawn module: its tag's content in the schema, and what a prompt may say of it."""

    name: str
    parts: list[str] = field(default_factory=list)
    parameters: list[tuple[str, bool]] = field(default_factory=list)
    choices: list[tuple[int, list[Module]]] = field(default_factory=list)
    """Its children, the members of one union together, and which of `parts` they are."""


class Draw:
    """One random schema and one prompt for it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.names = 0

    def documents(self) -> tuple[str, str]:
        root = Module("generated")
        self.fill(root, depth=0)
        first, rest = self.words(5, 40), "".join(root.parts)
        content = self.rng.choice(
            (f"<system>{first}{rest}</system>", f"<system>{first}</system>{rest}", first + rest)
        )
        prompt = self.imports(root)
        if self.rng.random() < 0.8:
            prompt += f"<user>{self.words(3, 20)}</user>"
        elif self.rng.random() < 0.5:
            prompt += self.words(3, 20)
        arguments = self.arguments(root)
        return (
            f'<schema name="generated">{content}</schema>',
            f'<prompt schema="generated"{arguments}>{prompt}</prompt>',
        )

    def fill(self, owner: Module, depth: int) -> None:
        """Draw the text, parameters, modules and unions that `owner` holds."""
        kinds = ["text", "module", "union", "parameter"]
        weights = [3, 3, 2, 2] if depth < 2 else [3, 0, 0, 1]
        count = self.rng.randint(5, 8) if depth == 0 else self.rng.randint(1, 4)
        if depth:
            owner.parts.append(self.words(4, 40))
        for kind in self.rng.choices(kinds, weights, k=count):
            if kind == "text":
                short = self.rng.random() < 0.5  # then it may be computed afresh
                owner.parts.append(self.words(1, 8) if short else self.words(9, 40))
            elif kind == "parameter":
                self.parameter(owner)
            else:
                members = self.rng.randint(2, 3) if kind == "union" else 1
                tags, choice = zip(*(self.module(depth + 1) for _ in range(members)), strict=True)
                content = "".join(tags)
                owner.choices.append((len(owner.parts), list(choice)))
                owner.parts.append(f"<union>{content}</union>" if members > 1 else content)

    def module(self, depth: int) -> tuple[str, Module]:
        self.names += 1
        module = Module(f"m{self.names}")
        self.fill(module, depth)
        cache = ' cache="false"' if self.rng.random() < 0.1 else ""
        return f'<module name="{module.name}"{cache}>{"".join(module.parts)}</module>', module

    def parameter(self, owner: Module) -> None:
        self.names += 1
        name, has_default = f"p{self.names}", self.rng.random() < 0.4
        default = f' default="{self.words(1, 4)}"' if has_default else ""
        owner.parts.append(f'<param name="{name}" len="{SLOT}"{default}/>')
        owner.parameters.append((name, has_default))

    def imports(self, owner: Module) -> str:
        """Tags for some of the owner's children; now and then new text in what is left out."""
        tags: list[str] = []
        after = None  # the part that was imported last
        for place, members in owner.choices:
            if self.rng.random() < 0.7:
                module, after = self.rng.choice(members), place
                inside = self.imports(module)
                tag = f"{module.name}{self.arguments(module)}"
                tags.append(f"<{tag}>{inside}</{module.name}>" if inside else f"<{tag}/>")
            elif after is not None and after + 1 == place and self.rng.random() < 0.5:
                tags.append(self.words(1, 1))  # no module is shorter
        return "".join(tags)

    def arguments(self, owner: Module) -> str:
        """Attributes for the owner's parameters; half of those with a default are left to it."""
        given = [
            name for name, default in owner.parameters if not default or self.rng.getrandbits(1)
        ]
        return "".join(f' {name}="{self.words(1, 4)}"' for name in given)

    def words(self, fewest: int, most: int) -> str:
        count = self.rng.randint(fewest, most)
        start = self.rng.randrange(len(WORDS) - count)
        return escape(" ".join(WORDS[start : start + count]))


def documents(count: int) -> Iterator[tuple[str, str]]:
    """Schemas and prompts, always the same ones."""
    return (Draw(seed).documents() for seed in range(count))
