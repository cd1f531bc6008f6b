"""A document in its canonical form: `pml fmt`.

    <schema name="trip">
      <!-- a comment stays -->
      <module name="rome">
        To Rome: the old streets,
        in <param name="month" len="6"/>.
      </module>
    </schema>

An element with no text between its children has them on lines of their own, unless it was written
on one line and is short; text stays in its lines, moved to the depth of its element. What
`space="preserve"` keeps is kept. A run of text is rewritten only where the white-space rule reads
it as before, and the whole document must mean what it meant.
"""

from __future__ import annotations

from collections.abc import Sequence

from pml.concrete import Node, Piece, opening, read_concrete
from pml.errors import PMLSyntaxError, tagged
from pml.markup import SCHEMA_LIMITS, Element, Limits, Text, parse_markup
from pml.nodes import ROLES
from pml.runs import Run, is_blank_piece, moved, read_in_place
from pml.whitespace import WHITE, preserves, settled

_ORDER = {
    "schema": ("name", "version", "layout", "attention", "space"),
    "module": ("name", "cache", "src", "space"),
    "union": ("required", "scaffold", "space"),
    "param": ("name", "len", "length", "default", "scaffold"),
    "parameter": ("name", "len", "length", "default", "scaffold"),
    "prompt": ("schema", "version", "space"),
    "use": ("module",),
    "arg": ("name", "space"),
}
"""Attributes come in this order, then all others as they were."""
_STEP = "  "
_WIDTH = 100


def format_document(text: str | bytes, file: str, limits: Limits = SCHEMA_LIMITS) -> str:
    """The canonical form of a schema or a prompt; that of a canonical form is itself.

    Raises PMLSyntaxError where the document is not well formed, or neither of both.
    """
    root = parse_markup(text, file, limits)
    if root.tag not in ("schema", "prompt"):
        message = f"found {tagged(root.tag)}; expected <schema name=…> or <prompt schema=…>"
        raise PMLSyntaxError(message, root.at, code="wrong-root")
    content = read_concrete(text.decode() if isinstance(text, bytes) else text)
    formatted = _Formatter(root.tag == "prompt").document(content)
    assert meaning(parse_markup(formatted, file, limits)) == meaning(root)
    return formatted


def meaning(root: Element) -> object:
    """All that a reader of the document makes something of; equal for equal documents."""
    return _meaning(root, False, root.tag == "prompt")


def _meaning(element: Element, preserve: bool, in_prompt: bool) -> object:
    if _has_space(element.tag, in_prompt):
        preserve = preserves(element, preserve)
    elements = [child for child in element.children if isinstance(child, Element)]
    lifted = [child for child in elements if _is_lifted(child.tag, in_prompt)]
    children = settled(element, preserve, lambda child: _is_lifted(child.tag, in_prompt))
    if element.tag == "union" and not in_prompt:
        children = tuple(elements)  # white space between members is nothing
    read = [
        child.text if isinstance(child, Text) else _meaning(child, preserve, in_prompt)
        for child in (*children, *lifted)
    ]
    return element.tag, element.attributes, read


def _has_space(tag: str, in_prompt: bool) -> bool:
    """Whether the attribute `space` of this tag is about white space, and no argument."""
    return not in_prompt or tag in ("prompt", "arg", *ROLES)


def _is_lifted(tag: str, in_prompt: bool) -> bool:
    """Whether the texts around this element are one text."""
    return tag == ("arg" if in_prompt else "scaffold")


class _Formatter:
    """`newline` begins a line at the depth of the element that a method is given."""

    def __init__(self, in_prompt: bool) -> None:
        self.in_prompt = in_prompt

    def document(self, content: Sequence[Node | Piece]) -> str:
        lines = []
        for one in content:
            if isinstance(one, Node):
                lines.append(self.element(one, "\n", False))
            elif one.is_comment:
                lines.append(one.written)
            elif one.written.count("\n") > 1 and lines and one is not content[-1]:
                lines.append("")
        return "\n".join(lines) + "\n"

    def element(self, node: Node, newline: str, preserve: bool) -> str:
        line = self.on_one_line(node, _WIDTH - len(newline) + 1, preserve)
        if line is not None:
            return line
        if self.preserves(node, preserve):
            inner = "".join(self.as_it_is(one, newline, True) for one in node.content)
        else:
            inner = self.content(node, newline)
        return _element(node, inner)

    def on_one_line(self, node: Node, room: int, preserve: bool) -> str | None:
        """The element on one line, if it was written on one and holds no comment."""
        preserve = self.preserves(node, preserve)
        runs, children = self.parted(node)
        parts: list[str] = []
        for run, child in zip(runs, [*children, None], strict=True):
            text = "".join(piece.written for piece in run.pieces if isinstance(piece, Piece))
            if not run.is_text or "\n" in text or sum(map(len, parts)) + len(text) > 2 * room:
                return None
            if not preserve:
                text = self.text(run, "\n", "\n") if self.means_text(node, run) else ""
            parts.append(text)
            inner = self.on_one_line(child, room, preserve) if child else ""
            if inner is None:
                return None
            parts.append(inner)
        line = _element(node, "".join(parts))
        return line if len(line) <= room else None

    def as_it_is(self, one: Node | Piece, newline: str, preserve: bool) -> str:
        if isinstance(one, Piece):
            return one.written
        return self.element(one, newline + _STEP, preserve)

    def content(self, node: Node, newline: str) -> str:
        runs, children = self.parted(node)
        if not children and runs[0].is_blank and not runs[0].meant:
            return ""
        mixed = any(self.means_text(node, run) for run in runs)
        parts = []
        for run, child in zip(runs, [*children, None], strict=True):
            before_next = newline + (_STEP if child else "")
            if self.means_text(node, run):
                parts.append(self.text(run, newline, before_next))
            else:
                parts.append(self.between(run, newline, before_next, mixed))
            if child:
                parts.append(self.element(child, newline + _STEP, False))
        return "".join(parts)

    def parted(self, node: Node) -> tuple[list[Run], list[Node]]:
        """The element's children, and the runs before, between and after them."""
        pieces: list[list[Node | Piece]] = [[]]
        children: list[Node] = []
        for one in node.content:
            if isinstance(one, Node) and not _is_lifted(one.tag, self.in_prompt):
                children.append(one)
                pieces.append([])
            else:
                pieces[-1].append(one)
        last = len(pieces) - 1
        runs = [Run(some, first=i == 0, last=i == last) for i, some in enumerate(pieces)]
        return runs, children

    def preserves(self, node: Node, inherited: bool) -> bool:
        space = node.attributes.get("space") if _has_space(node.tag, self.in_prompt) else None
        return inherited if space is None else space[1:-1] == "preserve"

    def means_text(self, node: Node, run: Run) -> bool:
        if node.tag == "union" and not self.in_prompt:
            return bool(run.text.strip(WHITE))
        return run.meant != ""

    def between(self, run: Run, newline: str, before_next: str, mixed: bool) -> str:
        """A run that means nothing: its comments, and the white space to the next tag."""
        if mixed and "\n" not in run.text:
            kept = [piece for piece in run.pieces if not is_blank_piece(piece)]
            return "".join(self.as_it_is(piece, newline, False) for piece in kept)
        parts: list[str] = []
        newlines, at_start = 0, run.first
        for piece in run.pieces:
            if isinstance(piece, Piece) and is_blank_piece(piece):
                newlines += piece.text.count("\n")
                continue
            if isinstance(piece, Piece) and newlines == 0 and not at_start:
                parts.append(" ")
            else:
                parts.append("\n" if newlines > 1 and not at_start else "")
                parts.append(newline + _STEP)
            parts.append(self.as_it_is(piece, newline, False))
            newlines, at_start = 0, False
        blank_line = "\n" if newlines > 1 and not at_start and not run.last else ""
        return "".join([*parts, blank_line, before_next])

    def text(self, run: Run, newline: str, before_next: str) -> str:
        """A run that means a text."""
        as_it_is = "".join(self.as_it_is(piece, newline, False) for piece in run.pieces)
        body = as_it_is.rstrip(WHITE)
        ended = body + before_next if "\n" in as_it_is[len(body) :] else as_it_is
        candidates = [ended, as_it_is]
        if run.is_plain:
            candidates.insert(0, moved(as_it_is, run, newline + _STEP, before_next))
        return next(text for text in candidates if read_in_place(text, run) == run.meant)


def _element(node: Node, inner: str) -> str:
    attributes = _ordered(node)
    if not inner:
        return opening(node.tag, attributes, closed=True)
    return f"{opening(node.tag, attributes, closed=False)}{inner}</{node.tag}>"


def _ordered(node: Node) -> dict[str, str]:
    order = _ORDER.get(node.tag, ())
    names = [name for name in order if name in node.attributes]
    names += [name for name in node.attributes if name not in names]
    return {name: node.attributes[name] for name in names}
