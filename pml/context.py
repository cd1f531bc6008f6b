"""What a span's state was encoded seeing, and when two states are the same.

A **state** is what is stored for a span: its tokens, and its context, the states that it saw and
how far away they stood. A **node** is a state placed at a position. The **closure** of a node is
the node and the closures of the nodes in its context.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import Literal, get_args

from pml.layout import Layout, name_of
from pml.schema import ModulePath

Attention = Literal["isolated", "guaranteed"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)


@dataclass(frozen=True)
class Node:
    """A state placed at `start`. `key` identifies the state, so key and start are the identity.

    `context` holds every node that its tokens see besides their own, in the order of positions.
    """

    key: str
    start: int
    tokens: tuple[int, ...] = field(compare=False, repr=False)
    is_placeholder: bool = field(compare=False)
    path: str = field(compare=False)
    context: tuple[Node, ...] = field(compare=False, repr=False)

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)

    def __hash__(self) -> int:
        return hash(self.key)  # which a string remembers


def nodes_of(layout: Layout, attention: Attention) -> tuple[Node, ...]:
    """The node of each of the layout's spans, in their order."""
    nodes: list[Node] = []
    by_owner: dict[ModulePath, list[Node]] = {}
    for span in layout.spans:
        owners = seen_owners(span.owner, attention)
        # Each list is in the order of declaration, which is that of positions along one path.
        context = tuple(merge(*(by_owner.get(o, ()) for o in owners), key=lambda n: n.start))
        path = name_of(span.owner, span.parameter)
        is_placeholder = span.parameter is not None
        key = state_key(span.tokens, span.start, is_placeholder, context)
        node = Node(key, span.start, span.tokens, is_placeholder, path, context)
        by_owner.setdefault(span.owner, []).append(node)
        nodes.append(node)
    return tuple(nodes)


def seen_owners(owner: ModulePath, attention: Attention) -> list[ModulePath]:
    """Whose earlier spans a state of `owner`'s is encoded seeing, placeholders among them.

    `guaranteed`: what every prompt that imports the owner holds before it: BOS and anonymous
    text, the text of the owner's ancestors, the owner's own. `isolated` (the paper): the owner's
    own only. Anonymous text sees BOS and the anonymous text before it under both.
    """
    if attention == "isolated":
        return [owner]
    return [owner[:depth] for depth in range(len(owner) + 1)]


def state_key(
    tokens: Sequence[int], start: int, is_placeholder: bool, context: Iterable[Node]
) -> str:
    """sha256 over the tokens, the placeholder mark, and each context state with its displacement.

    The position itself is no part of it: the same content moved as a whole is the same state.
    Every field has a fixed length or is preceded by its own, so no two contents read alike.
    """
    digest = hashlib.sha256(b"state 1")
    digest.update(struct.pack("<?q", is_placeholder, len(tokens)))
    digest.update(struct.pack(f"<{len(tokens)}q", *tokens))
    for node in context:
        digest.update(struct.pack("<q64s", node.start - start, node.key.encode()))
    return digest.hexdigest()


def closure(nodes: Iterable[Node]) -> dict[Node, None]:
    """The closures of `nodes`, equal nodes once, each after the nodes that it sees."""
    found: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in found:
            for seen in node.context:
                visit(seen)
            found[node] = None

    for node in nodes:
        visit(node)
    return found
