"""A second reading of the specification: what a schema declares and what a prompt asks for.

`spec_positions.py` says where it stands, `spec_reading.py` what it sees. All three are naive on
purpose and share nothing with `pml` but the trees that both start from. Every rule stands here
once, as a sentence of the specification or as a decision where it is open (*decided*: written in
`docs/how-it-works.md`; *read as*: taken here so).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from minillm.tokenizer import Tokenizer
from pml.nodes import (
    Prompt,
    PromptImport,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
)

Path = tuple[str, ...]


class DoesNotFit(Exception):
    """The prompt's new text or an argument is longer than its place: how many tokens came, and how
    many fit. (0, 0): there is nothing at all."""

    def __init__(self, came: int, fit: int) -> None:
        super().__init__(f"{came} tokens, {fit} fit")
        self.came, self.fit = came, fit


@dataclass(eq=False)
class Span:
    """A maximal run of one owner's tokens with no parameter, child or import inside it; or a
    parameter's `slot`, which holds placeholders.

    `start`: in the fixed layout. `members`: of each union around it, the member it stands in.
    `stand_in`: what a slot holds in the passes of scaffolds and of `joint`.
    """

    owner: Path
    start: int
    cached: bool
    members: dict[int, str]
    ids: list[int] = field(default_factory=list)
    slot: PromptParameter | None = None
    stand_in: list[int] = field(default_factory=list)


@dataclass
class Declared:
    """What a schema says, in the order of declaration.

    `before` and `starts`: how many spans are declared before a module, and its first position in
    the fixed layout. `seen_members`: the member of each union that `joint` sees.
    """

    spans: list[Span] = field(default_factory=list)
    before: dict[Path, int] = field(default_factory=dict)
    starts: dict[Path, int] = field(default_factory=dict)
    seen_members: dict[int, str] = field(default_factory=dict)
    scaffolds: list[list[Path]] = field(default_factory=list)


def read_schema(schema: Schema, tokenizer: Tokenizer) -> Declared:
    """Every token that a prompt could select."""
    reader = _SchemaReader(tokenizer)
    if tokenizer.bos_id is not None:  # BOS is its own span at position 0
        reader.put([tokenizer.bos_id], (), True)
        reader.open = None
    reader.children(schema.children, (), True)
    for scaffold in schema.scaffolds:
        paths = {"/".join(path): path for path in reader.declared.before}
        reader.declared.scaffolds.append([paths[word] for word in scaffold.modules])
    return reader.declared


class _SchemaReader:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.declared = Declared()
        self.cursor = 0
        self.open: Span | None = None
        self.members: dict[int, str] = {}
        self.headed: list[Path] = []

    def put(self, ids: list[int], owner: Path, cached: bool) -> None:
        # *Decided*: a header, where the model has one, is text before a named module's first text.
        if ids and owner and owner not in self.headed:
            self.headed.append(owner)
            ids = [*self.tokenizer.header_ids, *ids]
        for id in ids:
            # *Decided*: cached text and text that is always fresh are not one span.
            if self.open is None or self.open.cached != cached:
                self.open = self.new_span(owner, cached)
            self.open.ids.append(id)
            self.cursor += 1

    def new_span(self, owner: Path, cached: bool) -> Span:
        span = Span(owner, self.cursor, cached, dict(self.members))
        self.declared.spans.append(span)
        return span

    def children(self, nodes: tuple[SchemaNode, ...], owner: Path, cached: bool) -> None:
        for node in nodes:
            self.node(node, owner, cached)

    def node(self, node: SchemaNode, owner: Path, cached: bool) -> None:
        if isinstance(node, PromptText):
            self.put(self.tokenizer.encode(node.text), owner, cached)
        elif isinstance(node, PromptRole):
            markers = self.tokenizer.roles[node.role]
            self.put(list(markers.open), owner, cached)
            self.children(node.children, owner, cached)
            self.put(list(markers.close), owner, cached)
        elif isinstance(node, PromptParameter):
            self.parameter(node, owner, cached)
        elif isinstance(node, PromptUnion):
            self.union(node, owner, cached)
        elif node.name is None:
            # *Decided*: an anonymous module is part of its owner.
            self.children(node.children, owner, cached and node.cache)
        else:
            self.open = None
            path = (*owner, node.name)
            self.declared.before[path] = len(self.declared.spans)
            self.declared.starts[path] = self.cursor
            # *Decided*: `cache="false"` covers the modules inside.
            self.children(node.children, path, cached and node.cache)
            self.open = None

    def parameter(self, node: PromptParameter, owner: Path, cached: bool) -> None:
        """A parameter takes its length."""
        slot = self.new_span(owner, cached)
        slot.slot, slot.ids = node, [self.tokenizer.placeholder_id] * node.length
        # *Decided*: the words of its `scaffold` stand in the slot; *read as*: from its start.
        words = self.tokenizer.encode(node.scaffold or "")
        slot.stand_in = [*words, *slot.ids[len(words) :]]
        self.cursor += node.length
        self.open = None

    def union(self, node: PromptUnion, owner: Path, cached: bool) -> None:
        """Members share the union's start; the union is as long as its longest member."""
        number = len(self.declared.seen_members)
        # *Decided*: of a union, `joint` sees the member that `scaffold` names, else the first.
        self.declared.seen_members[number] = node.scaffold or node.members[0].name or ""
        start = end = self.cursor
        for member in node.members:
            self.cursor, self.members[number] = start, member.name or ""
            self.node(member, owner, cached)
            end = max(end, self.cursor)
        del self.members[number]
        self.cursor = end


@dataclass
class Tag:
    """What a prompt says in one import's tag, or at its own top: `texts[i]` is the new text before
    `imports[i]`, and the last one what comes after all of them. A role tag's markers are text."""

    path: Path = ()
    arguments: dict[str, str] = field(default_factory=dict)
    texts: list[list[int]] = field(default_factory=lambda: [[]])
    imports: list[Tag] = field(default_factory=list)

    def all(self) -> Iterator[Tag]:
        yield self
        for tag in self.imports:
            yield from tag.all()


def read_prompt(prompt: Prompt, tokenizer: Tokenizer) -> Tag:
    """What the prompt selects and says. It is taken to fit its schema (`check_prompt`)."""
    reader = _PromptReader(tokenizer)
    tag = reader.tag((), prompt, None)
    if reader.last_text_role == "user":
        # A prompt whose last text stands in a <user> gets the assistant's opening marker. *Read
        # as*: the markers of a turn are text, so that a turn of nothing but imports gets it too.
        tag.texts[-1] += tokenizer.roles["assistant"].open
    return tag


class _PromptReader:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.last_text_role: str | None = None

    def tag(self, path: Path, given: Prompt | PromptImport, role: str | None) -> Tag:
        tag = Tag(path, {name: argument.text for name, argument in given.arguments.items()})
        for node in given.children:
            self.node(node, tag, role)
        return tag

    def node(self, node: PromptNode, tag: Tag, role: str | None) -> None:
        if isinstance(node, PromptImport):
            tag.imports.append(self.tag((*tag.path, node.name), node, role))
            tag.texts.append([])
        elif isinstance(node, PromptRole):
            markers = self.tokenizer.roles[node.role]
            self.text(list(markers.open), tag, node.role)
            for child in node.children:
                self.node(child, tag, node.role)
            self.text(list(markers.close), tag, node.role)
        else:
            self.text(self.tokenizer.encode(node.text), tag, role)

    def text(self, ids: list[int], tag: Tag, role: str | None) -> None:
        tag.texts[-1] += ids
        self.last_text_role = role
