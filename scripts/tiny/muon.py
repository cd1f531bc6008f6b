"""Muon (Jordan 2024): momentum whose singular values are all brought near 1.

torch's own does it in bfloat16, which a processor without such arithmetic emulates, slower than all
the rest of a step.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM, STEPS = 0.95, 5


class Muon(torch.optim.Optimizer):
    """For the matrices inside of blocks; embeddings and norms want another optimiser."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                if not state:
                    state["momentum"] = torch.zeros_like(matrix)
                state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonal(matrix.grad.lerp(state["momentum"], MOMENTUM))
                rows, columns = matrix.shape
                matrix.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Roughly UVᵀ of `matrix` = USVᵀ, by Newton and Schulz's iteration (singular values within
    0.7 to 1.2)."""
    rows, columns = matrix.shape
    x = (matrix.T if rows > columns else matrix) / (matrix.norm() + 1e-7)
    for _ in range(STEPS):
        a = x @ x.T
        x = 3.4445 * x + (2.0315 * a @ a - 4.7750 * a) @ x
    return x.T if rows > columns else x
