"""The oracle with one thing wrong: what the laws must be able to notice."""

from __future__ import annotations

import torch
from torch import Tensor

from minillm.model import ForwardPlan, Run, Transformer
from minillm.tokenizer import ByteTokenizer
from pml.plan import PromptPlan


class Oracle:
    """The tokens, positions and mask of a plan, to be tampered with; `logits` runs them."""

    def __init__(self, plan: PromptPlan) -> None:
        self.tokens = torch.tensor(plan.tokens())
        self.positions = torch.tensor(plan.positions())
        self.mask = torch.from_numpy(plan.visibility().copy())
        kinds = [span.kind for span in plan.spans for _ in span.tokens]
        self.ghost = torch.tensor([kind == "ghost" for kind in kinds])
        self.fresh = torch.tensor([kind == "fresh" for kind in kinds])
        self.last = int(torch.where(self.ghost, -1, self.positions).argmax())

    def logits(self, model: Transformer) -> Tensor:
        """(V,) of the prompt's last token, with the readable attention."""
        device = model.device
        run = Run(model.new_cache(len(self.tokens)), len(self.tokens), self.mask.to(device))
        forward = ForwardPlan([run], [self.last], explicit=True)
        logits: Tensor = model(self.tokens.to(device), self.positions.to(device), forward)[-1]
        return logits

    def tells_apart(self, seen: Tensor) -> bool:
        """Whether the tokens `seen`, bool (T,), are more than one token repeated."""
        return len(set(self.tokens[seen].tolist())) > 1

    def future_keys(self) -> Tensor:
        """Pairs (query, key), (n, 2): a fresh query and a key behind it that is no ghost. Not of a
        header, whose keys and values are the same whatever it sees."""
        later = self.positions[None, :] > self.positions[:, None]
        queries = self.fresh & (self.tokens < ByteTokenizer().vocab_size)
        return (later & queries[:, None] & ~self.ghost[None, :]).nonzero()

    def ghosts_before_the_end(self) -> Tensor:
        return (self.ghost & (self.positions < self.positions[self.last])).nonzero().flatten()

    def tail(self) -> Tensor:
        """The tokens of the last stretch of fresh ones: bool (T,). False: nothing precedes it."""
        before = ~self.fresh & ~self.ghost & (self.positions < self.positions[self.last])
        if not before.any():
            return torch.zeros_like(self.fresh)
        return self.fresh & (self.positions > self.positions[before].max())
