"""Who may see whom: a query sees the keys that stand at its own position or before it.

Positions decide, never the slots that keys happen to lie in. Where a caller needs a rule that
positions alone cannot say (the oracle, spans that must not see each other), it gives the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Visibility:
    """Which of S keys each of n queries sees.

    `mask` (n, m) is True where a query sees one of the *last* m keys; the S - m keys before them
    are seen by every query. A decode step needs no more than m = 1, whatever S is.
    """

    num_keys: int
    mask: Tensor

    @property
    def num_free(self) -> int:
        """How many leading keys every query sees."""
        return self.num_keys - self.mask.shape[1]

    def full(self) -> Tensor:
        """The whole matrix, bool (n, S)."""
        return torch.nn.functional.pad(self.mask, (self.num_free, 0), value=True)


def by_position(queries: Tensor, keys: Tensor) -> Visibility:
    """Causal visibility of `keys` at positions (S,) to `queries` at positions (n,).

    The queries' own keys are among the keys. Positions may come in any order and have gaps.

    >>> by_position(torch.tensor([3, 4]), torch.tensor([0, 9, 3, 4])).full().long().tolist()
    [[1, 0, 1, 0], [1, 0, 1, 1]]
    """
    late = (keys > queries.min()).nonzero()
    num_free = int(late[0]) if len(late) else len(keys)
    return Visibility(len(keys), keys[None, num_free:] <= queries[:, None])


def by_matrix(mask: Tensor) -> Visibility:
    """Visibility given outright: bool (n, S)."""
    return Visibility(mask.shape[1], mask)
