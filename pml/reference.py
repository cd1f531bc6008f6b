"""The oracle: what a prompt means, as one plain forward pass under a mask.

    tokens       those of every placed state's closure, and the fresh ones
    positions    where the plan puts them; ghosts may overlap anything
    mask         a token of a state sees that state and its context; a fresh token sees the fresh
                 and the cached ones; everyone only what stands at smaller positions, and itself

Nothing is stored, nothing reused. The engine is right when its logits equal these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minillm.generate import prefill
from minillm.kv import KVCache
from minillm.model import ForwardPlan, Run, Transformer
from pml.plan import PromptPlan


def oracle(
    model: Transformer, plan: PromptPlan, generated: tuple[int, ...] = (), *, explicit: bool = True
) -> Tensor:
    """Logits (V,) of the prompt's last token, or of the last of the tokens `generated` after it.

    `explicit` takes the readable attention, whose memory grows with the square of the tokens;
    without it the same mask goes to the fast one.
    """
    mask = torch.from_numpy(plan.visibility())
    seen = torch.tensor([s.kind != "ghost" for s in plan.spans for _ in s.tokens])
    positions = torch.tensor(plan.positions())
    last = int(torch.where(seen, positions, -1).argmax())
    for count in range(len(generated)):
        seen = torch.cat((seen, torch.tensor([True])))
        mask = torch.nn.functional.pad(mask, (0, 1, 0, 1))
        mask[-1] = seen
        last = len(seen) - 1
        positions = torch.cat((positions, torch.tensor([plan.next_position + count])))
    tokens = torch.tensor([*plan.tokens(), *generated])
    device = model.device
    run = Run(model.new_cache(len(tokens)), len(tokens), mask.to(device))
    forward = ForwardPlan([run], [last], explicit=explicit)
    logits: Tensor = model(tokens.to(device), positions.to(device), forward)
    return logits[-1]


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
