"""Where a prompt's own text goes: arguments into their slots, new text into the gaps it may use.

Text after an import starts right after the last selected token of that import and must end before
the next selected content; text before the first import goes before that import likewise; text
after the last import goes after everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from minillm.tokenizer import Tokenizer
from pml.errors import Location, PMLPromptError
from pml.layout import Layout, Slot, name_of, role_markers
from pml.prompt import Argument, Prompt, PromptImport
from pml.schema import ModulePath, PromptRole, PromptText

PROMPT = "prompt"
"""How the prompt's own text is called among the paths of a plan."""


@dataclass(frozen=True)
class Fresh:
    """Tokens to compute at consecutive positions from `start`, which belong to `owner`."""

    path: str
    owner: ModulePath
    start: int
    tokens: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)


def place_prompt(
    prompt: Prompt, layout: Layout, tokenizer: Tokenizer
) -> tuple[set[ModulePath], list[Fresh]]:
    """The modules that `prompt` selects, () among them, and its arguments and texts in place."""
    reader = _Reader(tokenizer)
    reader.read(prompt)
    imports = reader.imports
    placed = [
        _argument(slot, imports[slot.owner], tokenizer, prompt.at)
        for slot in layout.slots
        if slot.owner in imports
    ]
    used = [
        _Used(span.start, span.stop, span.owner)
        for span in layout.spans
        if span.owner in imports and span.parameter is None
    ]
    used += [_Used(fresh.start, fresh.stop, fresh.owner) for fresh in placed if fresh.tokens]
    for text in reader.texts:
        start = _start(text, used, layout)
        fresh = Fresh(PROMPT, text.parent, start, tuple(text.tokens))
        _check_fits(fresh, used, text.at)
        used.append(_Used(fresh.start, fresh.stop, fresh.owner, is_new=True))
        placed.append(fresh)
    return set(imports), [fresh for fresh in placed if fresh.tokens]


@dataclass(frozen=True)
class _Used:
    """Positions [start, stop) taken by selected content of `owner`, or by new text in its tag."""

    start: int
    stop: int
    owner: ModulePath
    is_new: bool = False


@dataclass
class _Text:
    """A run of new text in the tag of `parent`, and its neighbours among that tag's imports."""

    parent: ModulePath
    previous: ModulePath | None
    at: Location
    tokens: list[int] = field(default_factory=list)
    next: ModulePath | None = None


class _Reader:
    """Walks a prompt: its imports with their arguments, and the runs of text between them.

    A role tag does not end a run; its markers join the text around them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.imports: dict[ModulePath, dict[str, Argument]] = {}
        self.texts: list[_Text] = []
        self.last_role: str | None = None

    def read(self, prompt: Prompt) -> None:
        self.imports[()] = dict(prompt.arguments)
        last = self._level(prompt.children, _Text((), None, prompt.at), None)
        if self.last_role == "user":
            last.tokens += role_markers(self.tokenizer, "assistant", prompt.at).open
        self._end(last)

    def _level(self, children: Sequence[object], run: _Text, role: str | None) -> _Text:
        """Read the children of one tag into `run` and those after it; the last, still open run."""
        for child in children:
            if isinstance(child, PromptText):
                tokens = self.tokenizer.encode(child.text)
                run = self._extend(run, tokens, child.at)
                self.last_role = role
            elif isinstance(child, PromptRole):
                markers = role_markers(self.tokenizer, child.role, child.at)
                run = self._extend(run, markers.open, child.at)
                run = self._level(child.children, run, child.role)
                run = self._extend(run, markers.close, child.at)
                self.last_role = child.role
            elif isinstance(child, PromptImport):
                path = (*run.parent, child.name)
                run.next = path
                self._end(run)
                self.imports[path] = dict(child.arguments)
                self._end(self._level(child.children, _Text(path, None, child.at), role))
                run = _Text(run.parent, path, child.at)
        return run

    def _extend(self, run: _Text, tokens: Sequence[int], at: Location) -> _Text:
        if not run.tokens:
            run.at = at
        run.tokens += tokens
        return run

    def _end(self, run: _Text) -> None:
        if run.tokens:
            self.texts.append(run)


def _argument(
    slot: Slot, given: dict[str, Argument], tokenizer: Tokenizer, prompt_at: Location
) -> Fresh:
    """The argument of a slot, or the parameter's default, in the slot's positions."""
    parameter = slot.parameter
    argument = given.get(parameter.name)
    text = argument.text if argument else (parameter.default or "")
    tokens = tokenizer.encode(text)
    if len(tokens) > parameter.length:
        raise PMLPromptError(
            f"argument {parameter.name!r} has {len(tokens)} tokens, its parameter holds "
            f"{parameter.length}; shorten it or raise len in the schema ({parameter.at})",
            argument.at if argument else prompt_at,
        )
    return Fresh(name_of(slot.owner, parameter.name), slot.owner, slot.start, tuple(tokens))


def _start(text: _Text, used: Sequence[_Used], layout: Layout) -> int:
    """Where a run of new text starts."""
    if text.parent == () and text.next is None:
        return max((taken.stop for taken in used), default=0)
    if text.previous is None and text.next is not None:
        bound = layout.region(text.next).start
        start = max((taken.stop for taken in used if taken.start < bound), default=0)
    else:
        after = text.previous or text.parent
        inside = [taken.stop for taken in used if taken.owner[: len(after)] == after]
        start = max(inside, default=layout.region(after).start)
    # Where other new text stands already, as it may beside an empty module, it follows that.
    for taken in sorted((t for t in used if t.is_new), key=lambda t: t.start):
        start = taken.stop if taken.start <= start < taken.stop else start
    return start


def _check_fits(text: Fresh, used: Sequence[_Used], at: Location) -> None:
    """A run of text must end before the next selected content."""
    after = [taken for taken in used if taken.stop > text.start]
    following = min(after, key=lambda taken: taken.start, default=None)
    if following is None or text.stop <= following.start:
        return
    free = max(0, following.start - text.start)
    what = f"the text of {name_of(following.owner)}" if following.owner else "the schema's own text"
    raise PMLPromptError(
        f"new text of {_tokens(len(text.tokens))}, but only {_tokens(free)} fit here, before "
        f'{what} at position {following.start}; shorten or move it, or use layout="packed"',
        at,
    )


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"
