"""Which cached tokens a prompt computes afresh, with sight of all that it holds before them.

Modules are encoded without seeing one another. A few tokens that are computed again, with full
visibility, win part of that back; all of them recomputed is full prefill. The stored version of a
recomputed token stays as a ghost, for the tokens that were encoded seeing it.

    first               the first k tokens of each imported module (EPIC's LegoLink)
    after_parameters    the k cached tokens behind each filled parameter: what was encoded behind
                        a placeholder
    positions           these positions of the prompt
    deviating           the share of all cached tokens whose keys or values (`deviation`) deviate
                        most from those of a full prefill (CacheBlend)
    attended            the modules that the prompt's last fresh tokens attend to most, which make
                        up about this share of all cached tokens; at least one
    read                the share of all cached tokens, those of modules that the prompt's last
                        token attends to most
    sought              the same of what any of the prompt's last fresh tokens attends to
    unseen              all cached tokens but the first ones, which saw all that stands before them:
                        the answer is that of full prefill

The selectors add up. Which tokens deviate and what is attended to the engine measures. None but
`positions` counts or takes the tokens of a header: they are the same whatever they see.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal, get_args

from pml.context import Node
from pml.placement import Standing

Deviation = Literal["values", "keys", "both"]


@dataclass(frozen=True)
class Recompute:
    """Raises `ValueError` for a negative number or a share that is none."""

    first: int = 0
    after_parameters: int = 0
    positions: Set[int] = frozenset()
    deviating: float = 0.0
    deviation: Deviation = "values"
    attended: float = 0.0
    read: float = 0.0
    sought: float = 0.0
    unseen: bool = False

    def __post_init__(self) -> None:
        for name in ("first", "after_parameters"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more tokens")
        for name in ("deviating", "attended", "read", "sought"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a share from 0 to 1")
        if self.deviation not in get_args(Deviation):
            expected = ", ".join(get_args(Deviation))
            raise ValueError(f"deviation is {self.deviation!r}, expected one of {expected}")

    @property
    def is_measured(self) -> bool:
        """Whether it takes the states to know which tokens: see `pml/measured.py`."""
        return bool(self.deviating or self.attended or self.read or self.sought)


NOTHING = Recompute()


def recomputed_tokens(
    recompute: Recompute,
    standing: Sequence[Standing],
    nodes: Sequence[Node | None],
    filled: Set[int],
    header: Sequence[int] = (),
) -> dict[Node, tuple[int, ...]]:
    """The offsets to compute afresh in each node; `nodes` are those of `standing`, None where its
    text is fresh anyhow, and `filled` the positions that arguments start at; `header` are tokens
    that are not counted."""
    found: dict[Node, set[int]] = {}
    left_of: dict[int, int] = {}  # of an import: how many of its first tokens are still to come
    left = 0  # of the tokens behind the last parameter
    for one, node in zip(standing, nodes, strict=True):
        if one.span.parameter is not None:
            left = recompute.after_parameters if one.start in filled else left
        elif node is not None:
            own = [n for n, token in enumerate(node.tokens) if token not in header]
            first = 0 if one.span.owner == () else left_of.get(id(one.tag), recompute.first)
            left_of[id(one.tag)] = max(0, first - len(own))
            chosen = {*own[: max(first, left)]}
            chosen |= {n for n in range(len(node.tokens)) if node.start + n in recompute.positions}
            left = max(0, left - len(own))
            if chosen:
                found[node] = chosen
    return {node: tuple(sorted(offsets)) for node, offsets in found.items()}
