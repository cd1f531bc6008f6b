"""Schemas and prompts drawn at random: nested modules, unions, parameters, roles, scaffolds, new
text. In the layout `packed` modules come in any order and again, with text anywhere.

The texts are stretches of a story, so that a model reads what it was trained on; for a tokenizer
of bytes they are stretches of its letters.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from pml.recompute import Recompute

STORY = (Path(__file__).parent / "texts" / "a_scandal_in_bohemia.txt").read_text(encoding="utf-8")
WORDS = STORY.split()
LETTERS = [letter for letter in STORY if letter.isalpha()]
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


@dataclass(frozen=True)
class Documents:
    """A schema, a prompt for it, and `served`: one that begins like it, which may come before it.
    `recompute` is what the prompt asks to be computed afresh."""

    schema: str
    prompt: str
    served: str
    recompute: Recompute


class Draw:
    """One random schema and one prompt for it."""

    def __init__(self, seed: int, layout: str = "fixed", pieces: Sequence[str] = WORDS) -> None:
        self.rng = random.Random(seed)
        self.packed = layout == "packed"
        self.pieces, self.glue = pieces, "" if pieces is LETTERS else " "
        self.names = 0
        self.imported: dict[str, None] = {}
        """The paths of the modules that the prompt imports, joined by `/`; of a union whose module
        is imported again, those of the first member."""
        self.chosen: dict[tuple[str, int], str] = {}

    def documents(self) -> Documents:
        root = Module("generated")
        self.fill(root, depth=0)
        first, rest = self.words(5, 40), "".join(root.parts)
        content = self.rng.choice(
            (f"<system>{first}{rest}</system>", f"<system>{first}</system>{rest}", first + rest)
        )
        arguments, tags = self.arguments(root), self.imports(root)
        opening = f'<prompt schema="generated"{arguments}>'
        begun = tags[: self.rng.randint(0, len(tags))] if self.rng.random() < 0.5 else tags
        return Documents(
            f'<schema name="generated">{content}{self.scaffold()}</schema>',
            f"{opening}{''.join(tags)}{self.end()}</prompt>",
            f"{opening}{''.join(begun)}{self.end()}</prompt>",
            self.recompute(),
        )

    def end(self) -> str:
        """A question, a text without a role, or nothing."""
        text, kind = self.words(3, 20), self.rng.random()
        return f"<user>{text}</user>" if kind < 0.8 else text if kind < 0.9 else ""

    def scaffold(self) -> str:
        """A scaffold over some of the modules that the prompt imports, more often than not."""
        if len(self.imported) < 2 or self.rng.random() < 0.3:
            return ""
        members = self.rng.sample([*self.imported], self.rng.randint(2, len(self.imported)))
        return f'<scaffold modules="{" ".join(members)}"/>'

    def recompute(self) -> Recompute:
        """One selector, or several, or none."""
        rng = self.rng
        return Recompute(
            first=rng.choice((0, 0, 3)),
            after_parameters=rng.choice((0, 0, 2)),
            positions=frozenset(rng.choice(((), rng.sample(range(200), 5)))),
            deviating=rng.choice((0.0, 0.0, 0.1)),
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

    def imports(self, owner: Module, path: str = "") -> list[str]:
        """Tags for some of the owner's children, and new text where it fits."""
        tags: list[str] = []
        after = None  # the part that was imported last
        for place, members in owner.choices:
            if self.rng.random() < 0.7:
                module, after = self.rng.choice(members), place
                inner = f"{path}/{module.name}" if path else module.name
                is_first = self.chosen.setdefault((path, place), module.name) == module.name
                if is_first and (not path or path in self.imported):
                    self.imported[inner] = None
                tags += (self.tag(module, inner) for _ in range(self.times()))
            elif after is not None and after + 1 == place and self.rng.random() < 0.5:
                tags.append(self.words(1, 1))  # no module is shorter
        return self.mixed(tags) if self.packed else tags

    def tag(self, module: Module, path: str) -> str:
        inside = "".join(self.imports(module, path))
        tag = f"{module.name}{self.arguments(module)}"
        return f"<{tag}>{inside}</{module.name}>" if inside else f"<{tag}/>"

    def times(self) -> int:
        """How often a module is imported: in the layout `fixed` once."""
        return 2 if self.packed and self.rng.random() < 0.2 else 1

    def mixed(self, tags: list[str]) -> list[str]:
        """In another order half of the time, and with text between them anywhere."""
        if self.rng.random() < 0.5:
            self.rng.shuffle(tags)
        for place in reversed(range(len(tags) + 1)):
            if self.rng.random() < 0.3:
                tags.insert(place, self.words(1, 12))
        return tags

    def arguments(self, owner: Module) -> str:
        """Attributes for the owner's parameters; half of those with a default are left to it."""
        given = [
            name for name, default in owner.parameters if not default or self.rng.getrandbits(1)
        ]
        return "".join(f' {name}="{self.words(1, 4)}"' for name in given)

    def words(self, fewest: int, most: int) -> str:
        count = self.rng.randint(fewest, most)
        start = self.rng.randrange(len(self.pieces) - count)
        return escape(self.glue.join(self.pieces[start : start + count]))
