"""What a span's state was encoded seeing, and when two states are the same.

A **state** is what is stored for a span: its tokens, and its context, the states that it saw and
how far away they stood. A **node** is a state placed at a position. The **closure** of a node is
the node and the closures of the nodes in its context.

    guaranteed      BOS ◄─ anonymous ◄─┬─ module a ◄─ its second span
                                       └─ module b

Most contexts are such lists that share their beginning: a schema of 20,000 modules has as many
links, not the sum of their lengths.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class State:
    """`key` is its identity: tokens and context. `origin` is the position of its first token when
    it is encoded, and no part of the identity.

    `distance` is that from the first token of the last state of the context to its own; `seen` the
    number of distinct tokens in its closure: how rich it is.
    """

    key: str
    origin: int
    tokens: tuple[int, ...] = field(compare=False, repr=False)
    is_placeholder: bool = field(compare=False)
    path: str = field(compare=False)
    context: Context | None = field(compare=False, repr=False)
    distance: int = field(compare=False, repr=False)
    seen: int = field(compare=False)

    @classmethod
    def of(
        cls,
        tokens: Sequence[int],
        origin: int,
        path: str,
        context: Context | None,
        distance: int,
        *,
        is_placeholder: bool = False,
    ) -> State:
        """The key is sha256 over the mark of a placeholder, the tokens, and each state of the
        context with its displacement. Every field has a fixed length or is preceded by its own,
        so no two contents read alike."""
        count = len(tokens)
        content = struct.pack(f"<7s?q{count}q", b"state 2", is_placeholder, count, *tokens)
        if context is not None:
            content += struct.pack("<q64s", distance, context.key.encode())
        key = hashlib.sha256(content).hexdigest()
        seen = count
        if context is not None and context.state.context is context.before:
            seen += context.state.seen  # one causal pass: the last state saw what this one sees
        elif context is not None:
            others = closure(node for node, _ in _links(context, 0))
            seen += sum(len(node.tokens) for node in others)
        return cls(key, origin, tuple(tokens), is_placeholder, path, context, distance, seen)

    def __hash__(self) -> int:
        return hash(self.key)  # which a string remembers

    @property
    def stop(self) -> int:
        return self.origin + len(self.tokens)

    @cached_property
    def passed(self) -> Context:
        """The context of what comes next in the same causal pass."""
        return Context(self, self.context, self.distance)


@dataclass(frozen=True, eq=False)
class Context:
    """The states that were seen: `state`, and those of `before`, the last of which stood
    `distance` positions before it. In the order of positions."""

    state: State
    before: Context | None
    distance: int

    @cached_property
    def key(self) -> str:
        digest = hashlib.sha256(b"context 2" + self.state.key.encode())
        if self.before is not None:
            digest.update(struct.pack("<q64s", self.distance, self.before.key.encode()))
        return digest.hexdigest()


@dataclass(frozen=True)
class Node:
    """A state whose first token is at `start`."""

    state: State = field(compare=False)
    start: int
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.state.key)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.state.tokens

    @property
    def stop(self) -> int:
        return self.start + len(self.state.tokens)

    @property
    def context(self) -> tuple[Node, ...]:
        """Every node that its tokens see besides their own, in the order of positions."""
        links = _links(self.state.context, self.start - self.state.distance)
        return tuple(node for node, _ in reversed([*links]))


def _links(link: Context | None, start: int) -> Iterator[tuple[Node, Context]]:
    """The nodes of a context with their links, the last first, which stands at `start`."""
    while link is not None:
        yield Node(link.state, start), link
        start -= link.distance
        link = link.before


def closure(nodes: Iterable[Node]) -> dict[Node, None]:
    """The closures of `nodes`, equal nodes once, each after the nodes that it sees."""
    found: dict[Node, None] = {}
    listed: set[tuple[str, int]] = set()

    def visit(node: Node) -> None:
        if node in found:
            return
        unseen = []
        for seen, link in _links(node.state.context, node.start - node.state.distance):
            place = (link.key, seen.start)
            if place in listed:
                break  # and so is all that stands before it in the list
            listed.add(place)
            unseen.append(seen)
        for seen in reversed(unseen):
            visit(seen)
        found[node] = None

    for node in nodes:
        visit(node)
    return found
