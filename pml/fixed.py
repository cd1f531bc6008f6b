"""The layout `fixed`: everything of the schema where the schema puts it, new text in the gaps.

Text after an import starts right after the last selected token of that import and must end before
the next selected content; text before the first import goes before that import likewise; text
after the last import goes after everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minillm.tokenizer import Tokenizer
from pml.asked import Asked, NewText
from pml.errors import Location, PMLPromptError
from pml.layout import Layout, name_of
from pml.placement import PROMPT, Fresh, Placement
from pml.schema import ModulePath


def place_fixed(asked: Asked, layout: Layout, tokenizer: Tokenizer) -> Placement:
    """Raises `PMLPromptError` for an argument or a text that is longer than its place."""
    placement, used = Placement(), list[_Used]()
    selected = [
        (span, section, tag)
        for tag in asked.all()
        for section in (layout.sections[tag.path],)
        for span in section.spans
    ]
    for span, section, tag in sorted(selected, key=lambda one: one[0].index):
        stop = placement.stand(section, span, span.start, tag, tokenizer)
        if stop > span.start:
            used.append(_Used(span.start, stop, span.owner))
    for place in _texts(asked):
        text = place.text
        start = _start(place, used, layout)
        fresh = Fresh(PROMPT, place.tag, start, tuple(text.tokens), tuple(text.lengths))
        _check_fits(fresh, used, text.at, tokenizer)
        used.append(_Used(fresh.start, fresh.stop, fresh.owner, is_new=True))
        placement.fresh.append(fresh)
    return placement


@dataclass(frozen=True)
class _Used:
    """Positions [start, stop) taken by selected content of `owner`, or by new text in its tag."""

    start: int
    stop: int
    owner: ModulePath
    is_new: bool = False


@dataclass(frozen=True)
class _Place:
    """New text in the tag of an import, and its neighbours among that tag's imports."""

    text: NewText
    tag: ModulePath
    previous: ModulePath | None
    next: ModulePath | None


def _texts(tag: Asked) -> Iterator[_Place]:
    """The runs of text that are not empty, in the prompt's order."""
    neighbours = [None, *(inner.path for inner in tag.imports), None]
    for index, text in enumerate(tag.texts):
        if text.tokens:
            yield _Place(text, tag.path, neighbours[index], neighbours[index + 1])
        if index < len(tag.imports):
            yield from _texts(tag.imports[index])


def _start(place: _Place, used: Sequence[_Used], layout: Layout) -> int:
    """Where a run of new text starts."""
    if place.tag == () and place.next is None:
        return max((taken.stop for taken in used), default=0)
    if place.previous is None and place.next is not None:
        bound = layout.sections[place.next].start
        start = max((taken.stop for taken in used if taken.start < bound), default=0)
    else:
        after = place.previous or place.tag
        inside = [taken.stop for taken in used if taken.owner[: len(after)] == after]
        start = max(inside, default=layout.sections[after].start)
    # Where other new text stands already, as it may beside an empty module, it follows that.
    for taken in sorted((t for t in used if t.is_new), key=lambda t: t.start):
        start = taken.stop if taken.start <= start < taken.stop else start
    return start


def _check_fits(text: Fresh, used: Sequence[_Used], at: Location, tokenizer: Tokenizer) -> None:
    """A run of text must end before the next selected content."""
    after = [taken for taken in used if taken.stop > text.start]
    following = min(after, key=lambda taken: taken.start, default=None)
    if following is None or text.stop <= following.start:
        return
    free = max(0, following.start - text.start)
    advice = (
        "it is the blank between two tags: put them together or on lines of their own"
        if tokenizer.decode(text.tokens).isspace()
        else "shorten or move it"
    )
    what = f"the text of {name_of(following.owner)}" if following.owner else "the schema's own text"
    raise PMLPromptError(
        f"new text of {_tokens(len(text.tokens))}, but only {_tokens(free)} fit here, before "
        f'{what} at position {following.start}; {advice}, or use layout="packed"',
        at,
        code="text-length",
    )


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"
