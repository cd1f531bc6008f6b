"""The heads that a model with RoPE starts with: to look back, to find what is alike.

"Folvid is number 12."  "Number 12 lives in Balbun."  "Where does Folvid live? Answer:"
look back   every token takes down which ones stand 1, 2, 3 and 4 before it
link        Bal, 3 behind 12, finds the other 12, and takes down what stands 3 before that: vid
answer      the last token, 4 behind vid, finds Bal, which has vid taken down, and copies it
follow      the answer's Bal finds the token 1 behind Bal, and copies it
"""

from __future__ import annotations

import torch
from torch import Tensor

from minillm.model import Transformer
from minillm.rope import frequencies
from tiny.heads import Heads

EMBEDDING, FINAL_NORM = 0.25, 0.2
OFFSETS = (1, 2, 3, 4)
SHARPNESS = (12.0, 25.0, 25.0)
"""How much more a head that looks back scores the right token, by pair of channels."""
NOTE, MATCH, COPY = 0.28, 2.0, 0.6


def write_heads(model: Transformer, random: torch.Generator) -> None:
    config = model.config
    C, S = config.hidden_size, config.head_dim - config.rotary_dim
    axes = torch.linalg.qr(torch.randn(C, C, generator=random))[0].T
    notes, own, common = axes[: 4 * S].unflatten(0, (4, S)), axes[4 * S : -1], axes[-1]
    embedding = torch.randn(config.vocab_size, len(own), generator=random) @ own
    embedding /= embedding.norm(dim=1, keepdim=True)
    model.embedding.weight.copy_((embedding + common) * EMBEDDING * (C / 2) ** 0.5)
    model.norm.weight.mul_(FINAL_NORM)
    own, (one, _, three, four) = own[:S], notes
    blocks = model.blocks[:4]
    first, second, third, fourth = (_Heads(block.attention, config) for block in blocks)
    first.look_back(common, own, notes)
    second.find(0, three, own, three)
    third.find(0, four, three, own)
    third.find(1, four, three, own)
    # Heads that share all keys cannot look for different things in one layer.
    for heads in (second, third) if config.num_kv_heads > 1 else (fourth,):
        heads.find(2, own, one, own)


class _Heads(Heads):
    def find(self, head: int, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Tokens whose `key` is like one's `query`, wherever they stand; their `value` is added to
        one's own."""
        R, S = self.config.rotary_dim, len(value)
        shared = self.shared(head)
        q, k = self.q[head].zero_(), self.k[shared].zero_()
        q[R:], k[R:], self.v[shared, :S] = MATCH * query, key, value
        self.out[head, :, :S] = COPY * value.T

    def look_back(self, common: Tensor, own: Tensor, notes: Tensor) -> None:
        """Each head looks one of `OFFSETS` back, and notes which token is there."""
        R, S, omega = self.config.rotary_dim, len(own), frequencies(self.config).float()
        strength = torch.zeros(R // 2)
        strength[: len(SHARPNESS)] = torch.tensor(SHARPNESS)
        # Normed tokens have sqrt(C/2) in the common direction; scores are divided by sqrt(D).
        strength = (strength * self.config.head_dim**0.5).sqrt() / (len(common) / 2) ** 0.5
        self.k[:, : R // 2] += strength[:, None] * common
        self.v[:, :S] = own
        for q, out, distance, note in zip(self.q, self.out, OFFSETS, notes, strict=True):
            turn = torch.cat(((distance * omega).cos(), -(distance * omega).sin()))
            q[:R] += (strength.repeat(2) * turn)[:, None] * common
            out[:, :S] = NOTE * note.T
