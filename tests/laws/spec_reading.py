"""A second reading of the specification's sections 1 to 4: the fixed layout, token by token.

It is naive on purpose and shares nothing with `pml.layout`, `pml.context`, `pml.placement` and
`pml.plan` but the trees that they all start from. Every rule stands here once, as a sentence of
the specification (or a decision where it is open, marked *decided*), and is applied to single
tokens: there are no spans to merge, no nodes to deduplicate, no positions to look up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from minillm.tokenizer import Tokenizer
from pml.nodes import (
    Argument,
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


@dataclass(frozen=True, eq=False)
class Word:
    """A token that the schema declares, or a placeholder: there is one for every position of a
    slot. `run` numbers the maximal runs of one owner's tokens without anything between."""

    id: int
    position: int
    owner: Path
    run: int
    slot: str | None = None
    cache: bool = True


@dataclass
class Declared:
    """What a schema says: its tokens in the order of declaration, and where the rest starts."""

    words: list[Word] = field(default_factory=list)
    module_starts: dict[Path, int] = field(default_factory=dict)
    slots: dict[tuple[Path, str], tuple[int, PromptParameter]] = field(default_factory=dict)


def read_schema(schema: Schema, tokenizer: Tokenizer) -> Declared:
    """Every token that a prompt could select, at its position."""
    reader = _SchemaReader(tokenizer)
    if tokenizer.bos_id is not None:  # BOS is its own span at position 0
        reader.put([tokenizer.bos_id], (), True)
        reader.run += 1
    reader.children(schema.children, (), True)
    return reader.declared


class _SchemaReader:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.declared = Declared()
        self.cursor = 0
        self.run = 0

    def put(self, ids: list[int], owner: Path, cache: bool, slot: str | None = None) -> None:
        for id in ids:
            word = Word(id, self.cursor, owner, self.run, slot, cache)
            self.declared.words.append(word)
            self.cursor += 1

    def children(self, nodes: tuple[SchemaNode, ...], owner: Path, cache: bool) -> None:
        for node in nodes:
            self.node(node, owner, cache)

    def node(self, node: SchemaNode, owner: Path, cache: bool) -> None:
        if isinstance(node, PromptText):
            self.put(self.tokenizer.encode(node.text), owner, cache)
        elif isinstance(node, PromptRole):
            markers = self.tokenizer.roles[node.role]
            self.put(list(markers.open), owner, cache)
            self.children(node.children, owner, cache)
            self.put(list(markers.close), owner, cache)
        elif isinstance(node, PromptParameter):
            # A parameter takes its length.
            self.run += 1
            self.declared.slots[owner, node.name] = (self.cursor, node)
            self.put([self.tokenizer.placeholder_id] * node.length, owner, cache, node.name)
            self.run += 1
        elif isinstance(node, PromptUnion):
            # Members share the union's start; the union is as long as its longest member.
            start = end = self.cursor
            for member in node.members:
                self.cursor = start
                self.node(member, owner, cache)
                end = max(end, self.cursor)
            self.cursor = end
        elif node.name is None:
            # *Decided*: an anonymous module is part of its owner. If it asks for `cache="false"`
            # its text is fresh and cannot be in one span with cached text.
            if node.cache:
                self.children(node.children, owner, cache)
            else:
                self.run += 1
                self.children(node.children, owner, False)
                self.run += 1
        else:
            self.run += 1
            path = (*owner, node.name)
            self.declared.module_starts[path] = self.cursor
            # *Read as*: what lies inside a `cache="false"` module is its text too.
            self.children(node.children, path, cache and node.cache)
            self.run += 1


@dataclass
class NewText:
    """Text of the prompt with nothing but role tags around it: what is before, what after.

    `tag` is the import in whose tag it stands, () for the prompt itself; `before` and `after`
    are the imports next to it in the same tag.
    """

    tag: Path
    after: Path | None
    before: Path | None = None
    ids: list[int] = field(default_factory=list)


@dataclass
class Asked:
    """What a prompt asks for, in its own order."""

    selected: list[Path] = field(default_factory=lambda: [()])
    arguments: dict[tuple[Path, str], str] = field(default_factory=dict)
    texts: list[NewText] = field(default_factory=list)
    last_text_role: str | None = None


def read_prompt(prompt: Prompt, tokenizer: Tokenizer) -> Asked:
    """What the prompt selects and says. It is taken to fit its schema (`check_prompt`)."""
    asked = Asked()
    _tag(prompt.children, (), prompt.arguments, asked, tokenizer, None)
    if asked.last_text_role == "user":
        # A prompt whose last text stands in a <user> gets the assistant's opening marker. *Read
        # as*: the markers of a turn are text, so that a turn of nothing but imports gets it too.
        last = [text for text in asked.texts if text.tag == ()][-1]
        last.ids += tokenizer.roles["assistant"].open
    asked.texts = [text for text in asked.texts if text.ids]
    return asked


def _tag(
    children: tuple[PromptNode, ...],
    tag: Path,
    arguments: Mapping[str, Argument],
    asked: Asked,
    tokenizer: Tokenizer,
    role: str | None,
) -> None:
    for name, argument in arguments.items():
        asked.arguments[tag, name] = argument.text
    text = NewText(tag, None)
    asked.texts.append(text)
    for item, inside in _flat(children, tokenizer, role):
        if isinstance(item, PromptImport):
            path = (*tag, item.name)
            text.before = path
            asked.selected.append(path)
            _tag(item.children, path, item.arguments, asked, tokenizer, inside)
            text = NewText(tag, path)
            asked.texts.append(text)
        elif isinstance(item, PromptText):
            text.ids += tokenizer.encode(item.text)
            asked.last_text_role = inside
        else:
            text.ids += item
            asked.last_text_role = inside


def _flat(
    children: tuple[PromptNode, ...], tokenizer: Tokenizer, role: str | None
) -> Iterator[tuple[PromptImport | PromptText | list[int], str | None]]:
    """Imports, texts and the ids of role markers in order, each with the role around it."""
    for child in children:
        if isinstance(child, PromptRole):
            markers = tokenizer.roles[child.role]
            yield list(markers.open), child.role
            yield from _flat(child.children, tokenizer, child.role)
            yield list(markers.close), child.role
        else:
            yield child, role


@dataclass(eq=False)
class Seen:
    """A token of the oracle: `cached`, `fresh` or `ghost`, and the tokens that it sees."""

    id: int
    position: int
    kind: str
    word: Word | None = None
    sees: list[Seen] = field(default_factory=list)

    def named(self) -> tuple[int, int, str]:
        return (self.id, self.position, self.kind)


Reading = Counter[tuple[int, int, str, frozenset[tuple[int, int, str]]]]


def read(
    schema: Schema,
    prompt: Prompt,
    tokenizer: Tokenizer,
    attention: str,
    short: int = 16,
) -> tuple[Reading, int]:
    """The oracle's tokens as (id, position, kind, whom it sees), and the next position."""
    declared, asked = read_schema(schema, tokenizer), read_prompt(prompt, tokenizer)
    tokens = _tokens(declared, asked, tokenizer, attention, short)
    reading = Counter(
        (*token.named(), frozenset(other.named() for other in token.sees)) for token in tokens
    )
    used = [token.position for token in tokens if token.kind != "ghost"]
    if not used:
        raise DoesNotFit(0, 0)
    return reading, max(used) + 1


def _tokens(
    declared: Declared, asked: Asked, tokenizer: Tokenizer, attention: str, short: int
) -> list[Seen]:
    live: list[Seen] = []
    for word in declared.words:
        if word.owner in asked.selected and word.slot is None:
            kind = "fresh" if _is_fresh(word, declared, asked, attention, short) else "cached"
            live.append(Seen(word.id, word.position, kind, word))
    where: dict[Path, list[int]] = {path: [] for path in asked.selected}
    for token in live:
        assert token.word is not None
        where[token.word.owner].append(token.position)
    for (owner, name), (start, parameter) in declared.slots.items():
        if owner not in asked.selected:
            continue
        # An argument's tokens take the slot's positions from its start; a default is computed
        # fresh like an argument.
        text = asked.arguments.get((owner, name), parameter.default)
        assert text is not None
        ids = tokenizer.encode(text)
        if len(ids) > parameter.length:
            raise DoesNotFit(len(ids), parameter.length)
        for offset, id in enumerate(ids):
            live.append(Seen(id, start + offset, "fresh"))
            where[owner].append(start + offset)
    new: set[int] = set()
    for new_text in asked.texts:
        live += _new_text(new_text, where, new, declared)
    recomputed = _recompute_last(live)
    return _with_sight(live, recomputed, declared, asked, attention)


def _is_fresh(word: Word, declared: Declared, asked: Asked, attention: str, short: int) -> bool:
    """Whether the schema's token is computed afresh: of `cache="false"`, or of short anonymous
    text that follows modules which it could not see."""
    if not word.cache:
        return True
    if word.owner != () or attention == "isolated":
        return False
    length = sum(1 for other in declared.words if other.run == word.run)
    # *Decided*: it follows one if anything of an imported module was declared before it.
    earlier = declared.words[: declared.words.index(word)]
    follows = any(other.owner != () and other.owner in asked.selected for other in earlier)
    return length <= short and follows


def _new_text(
    text: NewText, where: dict[Path, list[int]], new: set[int], declared: Declared
) -> list[Seen]:
    """New text at its place; the positions are then used, as part of the tag it stands in."""
    used = [position for positions in where.values() for position in positions]
    if text.after is None and text.before is not None:
        # *Decided*: text before the first import of a tag starts after the last used position
        # that lies before that import's region.
        start = declared.module_starts[text.before]
        start = max((p for p in used if p < start), default=-1) + 1
    elif text.tag == () and text.before is None:
        # Text after the last import in prompt order goes after the largest used position.
        start = max(used, default=-1) + 1
    else:
        # New text after an import starts right after the last selected token of that import;
        # *read as*: what stands in its tag is of the import, new text too; text in a tag without
        # imports comes after the tag's own import.
        root = text.tag if text.after is None else text.after
        own = [p for path, ps in where.items() if path[: len(root)] == root for p in ps]
        start = max(own, default=declared.module_starts[root] - 1) + 1
    # *Read as*: where other new text stands there already, it comes after that.
    while start in new:
        start += 1
    # It must end before the next selected content.
    fit = min((p for p in used if p >= start), default=start + len(text.ids)) - start
    if fit < len(text.ids):
        raise DoesNotFit(len(text.ids), fit)
    positions = range(start, start + len(text.ids))
    where[text.tag] += positions
    new.update(positions)
    return [Seen(id, p, "fresh") for id, p in zip(text.ids, positions, strict=True)]


def _recompute_last(live: list[Seen]) -> Word | None:
    """*Decided*: what stands last is computed, so that there are logits."""
    last = max(live, key=lambda token: token.position, default=None)
    if last is None or last.kind == "fresh":
        return None
    word, last.kind = last.word, "fresh"
    return word


def _with_sight(
    live: list[Seen],
    recomputed: Word | None,
    declared: Declared,
    asked: Asked,
    attention: str,
) -> list[Seen]:
    """The tokens of all closures and the fresh ones, each with whom it sees."""
    stored: dict[Word, Seen] = {}  # the version of a word that others were encoded seeing
    for token in live:
        if token.word is not None and token.kind == "cached":
            stored[token.word] = token
    ghosts: list[Seen] = []

    def ghost(word: Word) -> None:
        if word not in stored:
            stored[word] = Seen(word.id, word.position, "ghost", word)
            ghosts.append(stored[word])

    if recomputed is not None:
        ghost(recomputed)
    for word in declared.words:
        # *Decided*: the placeholders of every selected owner are there, seen or not; *read as*:
        # if its text is cached, for else no state of it is placed.
        if word.slot is not None and word.owner in asked.selected and word.cache:
            ghost(word)
    growing = True
    while growing:
        growing = False
        for seer in list(stored):
            for word in declared.words:
                if _encoded_seeing(seer, word, attention) and word not in stored:
                    ghost(word)
                    growing = True
    for seer, token in stored.items():
        token.sees = [
            other
            for word, other in stored.items()
            if word is seer or _encoded_seeing(seer, word, attention)
        ]
    visible = [token for token in live if token.kind != "ghost"]
    for token in live:
        if token.kind == "fresh":
            # A fresh token sees itself and, at smaller positions, what is no ghost.
            token.sees = [o for o in visible if o is token or o.position < token.position]
    return [*live, *ghosts]


def _encoded_seeing(seer: Word, word: Word, attention: str) -> bool:
    """Whether the stored version of `seer` was encoded seeing the stored version of `word`."""
    if word.position >= seer.position:
        return False
    if attention == "isolated" and seer.owner != ():
        return word.owner == seer.owner  # the earlier spans of its own module
    # All that every prompt importing the module holds before it: BOS, anonymous text, its
    # ancestors' own text, with placeholders, its own. (Anonymous text: the same in any context.)
    return seer.owner[: len(word.owner)] == word.owner
