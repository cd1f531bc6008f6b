"""The heads that a model with ALiBi starts with: the nearest token of a kind, and those alike.

ALiBi cannot look at one distance, but at the nearest token of a kind: the kind is a direction of
the embedding, which the query asks for, and the bias prefers what is near. There are four kinds: a
name's first syllable (head), its second (tail), numbers, and the words that tell what a sentence
says (verb; those that begin or end a sentence are among them).

    "Folvid is number 12."  "Number 12 lives in Balbun."  "Where does Folvid live? Answer:"
    nearest     every token takes down the nearest of each kind: Bal takes down vid, lives and 12,
                bun takes down Bal
    link        Bal, which has 12 taken down, finds the 12 that stands behind "is", and takes down
                the tail that it has: vid
    answer      the last token has vid and live taken down, finds the head that has both, Bal, and
                copies it
    follow      the answer's Bal finds the tail that has Bal taken down, and copies it
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minillm.config import ModelConfig
from minillm.families import FAMILIES
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer
from tiny.facts import FACTS, HEADS, NUMBERS, TAILS
from tiny.heads import Heads

EMBEDDING, FINAL_NORM = 0.25, 0.2
NOTE, COPY = 0.4, 0.6
NEAREST, MATCH, KIND = 10.0, 20.0, 10.0
"""How much more a head scores a token of the kind that it looks for, one that is alike, and, where
it looks for what is alike, one of the right kind besides."""


def write_heads(model: Transformer, tokenizer: Tokenizer, random: torch.Generator) -> None:
    """A head's channels compare the notes of syllables and numbers (`S` of them), those of verbs
    (`V`), and the kind."""
    config = model.config
    C, D = config.hidden_size, config.head_dim
    S, V = 2 * D // 3, D - 2 * D // 3 - 1
    axes = torch.linalg.qr(torch.randn(C, C, generator=random))[0].T
    notes = axes[: 4 * S].unflatten(0, (4, S))
    kinds, common, own, _ = axes[4 * S :].split((4, 1, S, C - 5 * S - 5))
    tokens = F.normalize(torch.randn(config.vocab_size, S, generator=random), dim=1)
    for told, asked in _verbs(tokenizer):
        tokens[asked] = tokens[told]
    embedding = tokens @ own + common
    for kind, members in zip(kinds, _kinds(tokenizer), strict=True):
        embedding[members] += kind
    unit = (C / 3) ** 0.5  # of a normed token: its own part, the common one, and its kind
    model.embedding.weight.copy_(embedding * EMBEDDING * unit)
    model.norm.weight.mul_(FINAL_NORM)

    head, tail, number, verb = notes
    a_head, a_tail = kinds[0, None], kinds[1, None]
    (is_,) = tokenizer.encode(" is")
    first, second, third, fourth = (_Heads(block.attention, config) for block in model.blocks)
    for kind, note, rank in zip(kinds, notes, (2, 0, 3, 1), strict=True):
        first.find(rank, [(common, kind[None], NEAREST)], own, NOTE * note, slot=rank)
    link = [(number, own, MATCH), (common, tokens[is_, None] @ verb, KIND)]
    second.find(-1, link, tail, COPY * tail)
    answer = [(tail, tail, MATCH), (verb[:V], verb[:V], MATCH), (common, a_head, KIND)]
    for rank in (-1, -2):
        third.find(rank, answer, own, COPY * own)
    fourth.find(-1, [(own, head, MATCH), (common, a_tail, KIND)], own, COPY * own)


def _verbs(tokenizer: Tokenizer) -> list[tuple[int, int]]:
    """Each verb as it is told and as it is asked for."""
    return [
        (
            tokenizer.encode(f" {told.split()[1]}")[0],
            tokenizer.encode(f" {asked.split()[-1].removesuffix('?')}")[0],
        )
        for told, asked in FACTS.values()
    ]


def _kinds(tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of heads, tails, numbers and verbs."""
    verbs = [token for pair in _verbs(tokenizer) for token in pair]
    words = ([f" {head}" for head in HEADS], TAILS, [f" {number}" for number in NUMBERS])
    bounds = [" is", ".", "About"]
    whole = [[tokenizer.encode(word)[0] for word in kind] for kind in (*words, bounds)]
    return [*whole[:3], whole[3] + verbs]


class _Heads(Heads):
    """By rank: the steepest slope comes first."""

    def __init__(self, attention: nn.Module, config: ModelConfig) -> None:
        super().__init__(attention, config)
        bias = FAMILIES[config.family].key_bias(config, torch.arange(2), torch.float32)
        self.by_slope = (bias[:, 1] - bias[:, 0]).argsort(descending=True).tolist()

    def find(
        self,
        rank: int,
        alike: list[tuple[Tensor, Tensor, float]],
        value: Tensor,
        into: Tensor,
        slot: int = 0,
    ) -> None:
        """The head of this rank finds tokens whose keys are like one's queries, (n, C) each, and
        scores them so much higher; their `value` is added to one's own as `into`."""
        C, D = self.config.hidden_size, self.config.head_dim
        head = self.by_slope[rank]
        shared = self.shared(head)
        q, k = self.q[head].zero_(), self.k[shared]
        if self.config.num_kv_heads > 1:
            k.zero_()
        for query, key, strength in alike:
            scale = (strength * D**0.5) ** 0.5 / (C / 3) ** 0.5
            stop = slot + len(query)
            q[slot:stop], k[slot:stop] = scale * query, scale * key
            slot = stop
        self.v[shared, : len(value)] = value
        self.out[head, :, : len(into)] = into.T
