"""What a span's state was encoded seeing, and when two states are the same.

A **state** is what is stored for a span: its tokens, and its context, the states that it saw and
how far away they stood. A **node** is a state placed at a position. The **closure** of a node is
the node and the closures of the nodes in its context.

    guaranteed      BOS ◄─ anonymous ◄─┬─ module a ◄─ its second span
                                       └─ module b

Every context is one causal pass, so a state points to the last one that it saw, which saw the rest:
a schema of 20,000 modules has as many links, not the sum of its contexts' lengths.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class State:
    """`key` is its identity: tokens and context. `origin` is the position of its first token when
    it is encoded, and no part of the identity.

    `previous` is the last state of its context, the first token of which stood `distance` positions
    before its own; `seen` the number of tokens in its closure: how rich it is.
    """

    key: str
    origin: int
    tokens: tuple[int, ...] = field(compare=False, repr=False)
    is_placeholder: bool = field(compare=False)
    path: str = field(compare=False)
    previous: State | None = field(compare=False, repr=False)
    distance: int = field(compare=False, repr=False)
    seen: int = field(compare=False)

    @classmethod
    def of(
        cls,
        tokens: Sequence[int],
        origin: int,
        path: str,
        previous: State | None = None,
        *,
        is_placeholder: bool = False,
    ) -> State:
        """The key is sha256 over the mark of a placeholder, the tokens, the key of the state before
        it and how far away that stood. Every field has a fixed length or is preceded by its own, so
        no two contents read alike."""
        distance = origin - previous.origin if previous else 0
        count = len(tokens)
        content = struct.pack(f"<7s?q{count}q", b"state 3", is_placeholder, count, *tokens)
        if previous is not None:
            content += struct.pack("<q64s", distance, previous.key.encode())
        key = hashlib.sha256(content).hexdigest()
        seen = count + (previous.seen if previous else 0)
        return cls(key, origin, tuple(tokens), is_placeholder, path, previous, distance, seen)

    def __hash__(self) -> int:
        return hash(self.key)  # which a string remembers

    @property
    def stop(self) -> int:
        return self.origin + len(self.tokens)


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
        return tuple(reversed([*self.backwards()]))[:-1]

    def backwards(self) -> Iterator[Node]:
        """The node, and those of its context, the last first."""
        state, start = self.state, self.start
        yield self
        while state.previous is not None:
            state, start = state.previous, start - state.distance
            yield Node(state, start)


def closure(nodes: Iterable[Node]) -> dict[Node, None]:
    """The closures of `nodes`, equal nodes once, each after the nodes that it sees."""
    found: dict[Node, None] = {}
    for node in nodes:
        new = list[Node]()
        for seen in node.backwards():
            if seen in found:
                break  # and so is all that it saw
            new.append(seen)
        found |= dict.fromkeys(reversed(new))
    return found
