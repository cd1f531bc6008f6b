"""The oracle: what a prompt means, as one plain forward pass under a mask.

    tokens       those of every placed state's closure, and the fresh ones
    positions    where the plan puts them; ghosts may overlap anything
    mask         a token of a state sees that state and its context; a fresh token sees the fresh
                 and the cached ones; everyone only what stands at smaller positions, and itself

Nothing is stored, nothing reused. The engine is right when its logits equal these.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from minillm.generate import prefill
from minillm.kv import KVCache
from minillm.model import ForwardPlan, Run, Transformer
from pml.plan import PromptPlan


def oracle(model: Transformer, plan: PromptPlan, *, explicit: bool = True) -> Tensor:
    """Logits (V,) of the prompt's last token.

    `explicit` takes the readable attention, whose memory grows with the square of the tokens;
    without it the same mask goes to the fast one.
    """
    return answered_oracle(model, plan, (), explicit=explicit)[0]


def answered_oracle(
    model: Transformer, plan: PromptPlan, answer: Sequence[int], *, explicit: bool = True
) -> Tensor:
    """Logits (1 + len(answer), V) of the prompt's last token and of each token of its answer, which
    sees what the prompt shows and the answer's earlier tokens."""
    seen = torch.tensor([s.kind != "ghost" for s in plan.spans for _ in s.tokens])
    positions = torch.tensor(plan.positions())
    last, first, stop = int(torch.where(seen, positions, -1).argmax()), len(seen), len(answer)
    mask = F.pad(torch.from_numpy(plan.visibility()), (0, stop, 0, stop))
    mask[first:, :first] = seen
    mask[first:, first:] = torch.ones(stop, stop, dtype=torch.bool).tril()
    behind = torch.arange(stop) + plan.next_position
    tokens, positions = torch.tensor([*plan.tokens(), *answer]), torch.cat((positions, behind))
    device = model.device
    run = Run(model.new_cache(len(tokens)), len(tokens), mask.to(device))
    forward = ForwardPlan([run], [last, *range(first, len(tokens))], explicit=explicit)
    logits: Tensor = model(tokens.to(device), positions.to(device), forward)
    return logits


def full_prefill(
    model: Transformer,
    plan: PromptPlan,
    buffer: KVCache | None = None,
    *,
    at_own_positions: bool = False,
) -> Tensor:
    """Logits (V,) of the prompt's last token after an ordinary causal pass without any reuse.

    The selected tokens stand at contiguous positions, as a user without this software would
    compute them, or at the prompt's own, where a law compares the two. `buffer` holds the keys
    and values afterwards; what it held before is forgotten.
    """
    buffer = buffer or model.new_cache()
    buffer.clear()
    tokens = plan.selected()
    positions: list[int] | range = range(len(tokens))
    if at_own_positions:
        spans = sorted((*plan.reused, *plan.fresh), key=lambda span: span.start)
        positions = [p for span in spans for p in range(span.start, span.stop)]
    return prefill(model, buffer, tokens, positions)
