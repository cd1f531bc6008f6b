"""The forward with gradients: the same logits as the one without, and the right gradients."""

from __future__ import annotations

from copy import deepcopy

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import ModelShape, hot_model, models
from torch import Tensor
from torch.nn import functional as F

from minillm.gradients import Differentiable
from minillm.model import ForwardPlan, Run, Transformer

TEXTS, LENGTH = 2, 9


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Texts at positions with gaps, of whose earlier tokens each token sees some."""
    random = torch.Generator().manual_seed(seed)
    shape = (TEXTS, LENGTH)
    tokens = torch.randint(261, shape, generator=random)
    positions = torch.randint(1, 40, shape, generator=random).cumsum(dim=1)
    sees = torch.rand(*shape, LENGTH, generator=random) < 0.6
    return tokens, positions, (sees | torch.eye(LENGTH, dtype=torch.bool)).tril()


@given(models(), st.integers(0, 1 << 20))
def test_logits_are_those_of_the_forward_without_gradients(model: Transformer, seed: int) -> None:
    tokens, positions, sees = drawn(seed)
    trained = Differentiable(model)
    found = trained.logits(trained.hidden(tokens, positions, sees))
    for text, at, mask, logits in zip(tokens, positions, sees, found, strict=True):
        plan = ForwardPlan([Run(model.new_cache(), LENGTH, mask)], range(LENGTH))
        torch.testing.assert_close(logits, model(text, at, plan), rtol=1e-9, atol=1e-9)


def test_gradients_are_what_a_small_step_of_the_weights_changes() -> None:
    model = deepcopy(hot_model(ModelShape(2, 2, 2, 8, True, True, "falcon, ALiBi", 0)))
    model.requires_grad_(True)
    tokens, positions, sees = drawn(0)
    tokens[:, 0] = model.config.vocab_size  # of the header, whose keys and values are weights too
    trained = Differentiable(model)

    def loss() -> Tensor:
        logits = trained.logits(trained.hidden(tokens, positions, sees))
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    loss().backward()
    random = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        step = 1e-6 * torch.randn(weight.shape, generator=random, dtype=torch.float64)
        with torch.no_grad():
            weight += step
            above = loss()
            weight -= 2 * step
            changed = above - loss()
            weight += step
        expected = 2 * (weight.grad * step).sum()
        torch.testing.assert_close(changed, expected, rtol=1e-4, atol=1e-12)
