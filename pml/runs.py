"""What stands between two tags of a document as written, and how its white space may change."""

from __future__ import annotations

from dataclasses import dataclass

from pml.concrete import Node, Piece, read_concrete
from pml.whitespace import WHITE, normalised


@dataclass(frozen=True, slots=True)
class Run:
    """What stands between two tags: text, comments, and elements that do not part a text."""

    pieces: list[Node | Piece]
    first: bool
    last: bool

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Piece))

    @property
    def meant(self) -> str:
        """The text as the model gets it."""
        text = self.text
        return normalised(text, first=self.first, last=self.last) if text else ""

    @property
    def is_blank(self) -> bool:
        return all(is_blank_piece(piece) for piece in self.pieces)

    @property
    def is_text(self) -> bool:
        """Whether it is text only, no comment and no element."""
        return not any(isinstance(piece, Node) or piece.is_comment for piece in self.pieces)

    @property
    def is_plain(self) -> bool:
        """Whether it is text only, and no CDATA section."""
        return self.is_text and all(
            isinstance(piece, Piece) and not piece.written.startswith("<![")
            for piece in self.pieces
        )


def read_in_place(written: str, run: Run) -> str:
    """What a text means in the place of `run`."""
    return Run(read_concrete(written), run.first, run.last).meant


def moved(written: str, run: Run, newline: str, before_next: str) -> str:
    """The text with its lines at the depth that `newline` begins them at."""
    text = normalised(written, first=run.first, last=run.last)
    body = text.strip(WHITE)
    if not body:
        return text
    head = written[: len(written) - len(written.lstrip(WHITE))]
    tail = written[len(written.rstrip(WHITE)) :]
    first, *rest = body.split("\n")
    lines = [first, *(newline[1:] + line if line else "" for line in rest)]
    before = newline if "\n" in head else "" if run.first or not head else " "
    after = before_next if "\n" in tail else "" if run.last or not tail else " "
    return before + "\n".join(lines) + after


def is_blank_piece(piece: Node | Piece) -> bool:
    return isinstance(piece, Piece) and not piece.is_comment and not piece.text.strip(WHITE)
