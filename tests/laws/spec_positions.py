"""A second reading of the specification, section 3: where everything stands, in both layouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from spec_documents import Declared, DoesNotFit, Path, Span, Tag

from minillm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Stood:
    """A span of the schema, text or slot, the position of its first token, and whose import selects
    it; `filled`: a slot with an argument of at least a token."""

    span: Span
    start: int
    tag: Tag
    filled: bool = False


@dataclass
class Standing:
    """What a prompt selects of the schema, and the tokens of arguments and new text, each with its
    position."""

    spans: list[Stood] = field(default_factory=list)
    fresh: list[tuple[int, int]] = field(default_factory=list)

    def put(self, ids: list[int], start: int) -> None:
        self.fresh += enumerate(ids, start)

    def put_span(self, span: Span, start: int, tag: Tag, tokenizer: Tokenizer) -> None:
        """The span of an import. An argument's tokens take the slot's positions from its start; a
        default is computed fresh like an argument."""
        ids: list[int] = []
        if span.slot is not None:
            text = tag.arguments.get(span.slot.name, span.slot.default)
            assert text is not None
            ids = tokenizer.encode(text)
            if len(ids) > span.slot.length:
                raise DoesNotFit(len(ids), span.slot.length)
        self.spans.append(Stood(span, start, tag, bool(ids)))
        self.put(ids, start)


def stand_packed(declared: Declared, prompt: Tag, tokenizer: Tokenizer) -> Standing:
    """In prompt order, without the gaps of what was left out; a slot's unused rest stays a gap."""
    packer = _Packer(declared, tokenizer)
    packer.tag(prompt)
    return packer.standing


class _Packer:
    def __init__(self, declared: Declared, tokenizer: Tokenizer) -> None:
        self.declared, self.tokenizer = declared, tokenizer
        self.standing = Standing()
        self.cursor = 0

    def text(self, ids: list[int]) -> None:
        self.standing.put(ids, self.cursor)
        self.cursor += len(ids)

    def own(self, spans: list[Span], tag: Tag) -> None:
        for span in spans:
            self.standing.put_span(span, self.cursor, tag, self.tokenizer)
            self.cursor += len(span.ids)  # of a slot, its whole length

    def tag(self, tag: Tag) -> None:
        own = [span for span in self.declared.spans if span.owner == tag.path]
        placed = 0
        for number, child in enumerate(tag.imports):
            # Before an import comes all anonymous text that precedes it in the schema and is not
            # yet placed. *Decided*: so does a module's own text before its child; new text before
            # the first import comes after that, new text after an import right behind it.
            if number > 0:
                self.text(tag.texts[number])
            earlier = self.declared.spans[: self.declared.before[child.path]]
            ready = len([span for span in own if span in earlier])
            self.own(own[placed:ready], tag)
            placed = max(placed, ready)
            if number == 0:
                self.text(tag.texts[number])
            self.tag(child)
        # The rest comes before the prompt's last text. *Decided*: in a module's tag it comes at
        # the end, behind new text after an import, before new text in a tag without imports.
        if tag.path == () or not tag.imports:
            self.own(own[placed:], tag)
            self.text(tag.texts[-1])
        else:
            self.text(tag.texts[-1])
            self.own(own[placed:], tag)


def stand_fixed(declared: Declared, prompt: Tag, tokenizer: Tokenizer) -> Standing:
    """What is selected stands where the schema has it; new text stands between."""
    standing = Standing()
    tags = {tag.path: tag for tag in prompt.all()}
    used: list[tuple[int, Path]] = []  # positions, and in whose tag they are
    for span in declared.spans:
        if span.owner in tags:
            before = len(standing.fresh)
            standing.put_span(span, span.start, tags[span.owner], tokenizer)
            if span.slot is None:
                used += [(span.start + i, span.owner) for i in range(len(span.ids))]
            used += [(position, span.owner) for position, _ in standing.fresh[before:]]
    new: set[int] = set()
    for text in _new_texts(prompt):
        start = _start(text, used, new, declared)
        # It must end before the next selected content.
        fit = min((p for p, _ in used if p >= start), default=start + len(text.ids)) - start
        if fit < len(text.ids):
            raise DoesNotFit(len(text.ids), fit)
        standing.put(text.ids, start)
        positions = range(start, start + len(text.ids))
        used += [(position, text.tag) for position in positions]
        new.update(positions)
    return standing


@dataclass
class _NewText:
    """New text in a tag, and the imports before and after it there."""

    ids: list[int]
    tag: Path
    after: Path | None
    before: Path | None


def _new_texts(tag: Tag) -> Iterator[_NewText]:
    """All new text, in the prompt's order."""
    paths = [None, *(child.path for child in tag.imports), None]
    for number, ids in enumerate(tag.texts):
        if ids:
            yield _NewText(ids, tag.path, paths[number], paths[number + 1])
        if number < len(tag.imports):
            yield from _new_texts(tag.imports[number])


def _start(text: _NewText, used: list[tuple[int, Path]], new: set[int], declared: Declared) -> int:
    if text.after is None and text.before is not None:
        # Text before the first import goes before it likewise. *Read as*: it starts after the
        # last used position that lies before that import's region.
        region = declared.starts[text.before]
        start = max((p for p, _ in used if p < region), default=-1) + 1
    elif text.tag == () and text.before is None:
        # Text after the last import in prompt order goes after the largest used position.
        start = max((p for p, _ in used), default=-1) + 1
    else:
        # New text after an import starts right after the last selected token of that import;
        # *read as*: what stands in its tag is of the import, new text too; text in a tag without
        # imports comes after the tag's own import.
        root = text.tag if text.after is None else text.after
        own = [p for p, path in used if path[: len(root)] == root]
        start = max(own, default=declared.starts[root] - 1) + 1
    # *Read as*: where other new text stands there already, it comes after that.
    while start in new:
        start += 1
    return start
