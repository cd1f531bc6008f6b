"""Learned contexts: what a served prompt held, reused where the same content comes first again.

    served    <system>…</system> <doc/> <user>Why?</user>
    later     <system>…</system> <doc/> <user>How?</user>
              ╰─────── the same ───────╯ each with a state that saw all of the prompt before it

The content of a prompt in the order of positions is one causal pass, like a scaffold's; a piece of
it can be reused by a prompt that begins with the same pieces at the same distances. Ordinary prefix
caching is this case. A piece is a span of the schema, or a text, argument or chat marker by itself.
What was learned becomes known between prompts only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from pml.context import Node, State
from pml.placement import Fresh

Piece = Node | Fresh


def with_learned(
    nodes: Sequence[Node | None],
    texts: Sequence[Fresh],
    learned: Set[str],
    before: Sequence[Piece] = (),
) -> tuple[list[Node | None], list[Fresh], list[Node]]:
    """`nodes` with richer states where such are known; the texts that are left to compute; and the
    nodes that stand for the others. The content `before` them is settled and stays as it is."""
    if not learned:
        return list(nodes), list(texts), []
    better: dict[Piece, Node] = {}
    pieces = [*before, *content([node for node in nodes if node is not None], texts)]
    for piece, node in zip(pieces, one_pass(pieces), strict=True):
        if node.key not in learned:
            break
        better[piece] = node
    for piece in before:
        better.pop(piece, None)
    left = [p for p in pieces[len(before) :] if isinstance(p, Fresh) and p not in better]
    new = [node for piece, node in better.items() if isinstance(piece, Fresh)]
    return [node and better.get(node, node) for node in nodes], left, new


def content(nodes: Sequence[Node], texts: Sequence[Fresh]) -> list[Piece]:
    """What is selected, piece by piece in the order of positions."""
    pieces: list[Piece] = [node for node in nodes if not node.state.is_placeholder]
    for text in texts:
        pieces += text.split()
    return sorted(pieces, key=lambda piece: piece.start)


def unseen(pieces: Sequence[Piece]) -> list[Node]:
    """The nodes among `pieces` from the first piece on whose state is not that of one pass over all
    of them: one that was encoded otherwise, or is new text. What comes behind has not seen it."""
    for index, (piece, node) in enumerate(zip(pieces, one_pass(pieces), strict=True)):
        if not isinstance(piece, Node) or piece.key != node.key:
            return [piece for piece in pieces[index:] if isinstance(piece, Node)]
    return []


def one_pass(pieces: Sequence[Piece]) -> Iterator[Node]:
    """Each piece as a node that saw all pieces before it."""
    state: State | None = None
    for piece in pieces:
        path = piece.path if isinstance(piece, Fresh) else piece.state.path
        state = State.of(piece.tokens, piece.start, path, state)
        yield Node(state, piece.start)
