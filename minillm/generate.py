"""Prefill and decode: from tokens at positions to a stream of new tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from minillm.kv import KVCache
from minillm.model import ForwardPlan, Run, Transformer
from minillm.sampling import Sampler, Sampling
from minillm.tokenizer import Tokenizer

if TYPE_CHECKING:
    from minillm.checkpoint import LoadedModel

FinishReason = Literal["stop", "length", "context"]

CHUNK = 512
"""New tokens in one forward at most. Larger chunks are no faster and hold more memory."""


def prefill(
    model: Transformer,
    cache: KVCache,
    tokens: Sequence[int],
    positions: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Run `tokens` at `positions` over `cache`, in chunks; the last one's logits (V,).

    The positions must ascend, so that every token's predecessors are in the cache before it.
    Where keys depend on the length of the whole text it is one chunk.
    `progress` is told the number of tokens of each finished chunk.
    """
    if not tokens:
        raise ValueError("there is no token to compute, so there are no logits")
    cache.reserve(len(tokens))
    logits = torch.empty(0)
    chunk = len(tokens) if model.config.follows_length else CHUNK
    for start in range(0, len(tokens), chunk):
        ids = torch.tensor(tokens[start : start + chunk], device=model.device)
        at = torch.tensor(positions[start : start + chunk], device=model.device)
        last = start + chunk >= len(tokens)
        plan = ForwardPlan([Run(cache, len(ids))], [len(ids) - 1] if last else [])
        logits = model(ids, at, plan)
        if progress:
            progress(len(ids))
    return logits[-1]


@dataclass(frozen=True)
class Step:
    """One generated token, or the end: `finish_reason` is set on the last step, which has no token.

    `stop`: the model ended; `length`: `max_tokens` were generated; `context`: the model's
    context is full.
    """

    token: int | None
    finish_reason: FinishReason | None = None


def decode(
    model: Transformer,
    cache: KVCache,
    logits: Tensor,
    position: int,
    *,
    max_tokens: int,
    sampling: Sampling,
    stop_ids: frozenset[int],
) -> Iterator[Step]:
    """Draw a token from `logits` (V,), append it at `position`, and so on; a step each.

    A token is yielded before its forward runs, so that the first one is out as soon as it is known.
    """
    check_max_tokens(max_tokens)
    draw = Sampler(sampling)
    for count in range(max_tokens):
        token = draw(logits)
        if token in stop_ids:
            yield Step(None, "stop")
            return
        yield Step(token)
        if count + 1 == max_tokens:
            break
        if position >= model.config.max_positions:
            yield Step(None, "context")
            return
        at = torch.tensor([position], device=model.device)
        logits = model(torch.tensor([token], device=model.device), at, _one(cache))[-1]
        position += 1
    yield Step(None, "length")


def _one(cache: KVCache) -> ForwardPlan:
    return ForwardPlan([Run(cache, 1)], [0])


@dataclass(frozen=True)
class Delta:
    """A piece of an answer's text; the last one has no token and a `finish_reason`."""

    text: str
    token: int | None = None
    finish_reason: FinishReason | None = None


def spell(steps: Iterator[Step], tokenizer: Tokenizer) -> Iterator[Delta]:
    """The text of each step as it comes; no character is ever cut."""
    text = tokenizer.stream()
    for step in steps:
        piece = text.finish() if step.token is None else text.add(step.token)
        yield Delta(piece, step.token, step.finish_reason)


def check_max_tokens(max_tokens: int) -> None:
    """Raises `ValueError` for a number of tokens that no answer can have."""
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, expected at least 1")


def stream(
    model: LoadedModel,
    prompt: str,
    *,
    max_tokens: int = 128,
    sampling: Sampling | None = None,
    chat: bool = True,
) -> Iterator[Delta]:
    """The answer to a plain `prompt`, piece by piece, without any reuse.

    With `chat`, and a model that has chat markers, the prompt is a user's turn. Raises
    `ValueError` for a prompt that is empty or longer than the model's context.
    """
    check_max_tokens(max_tokens)
    tokenizer, transformer = model.tokenizer, model.transformer
    tokens = tokenizer.encode(prompt)
    if not tokens:
        raise ValueError("the prompt is empty, expected some text")
    if chat and {"user", "assistant"} <= tokenizer.roles.keys():
        user, assistant = tokenizer.roles["user"], tokenizer.roles["assistant"]
        tokens = [*user.open, *tokens, *user.close, *assistant.asking]
    if tokenizer.bos_id is not None:
        tokens = [tokenizer.bos_id, *tokens]
    if len(tokens) > transformer.config.max_positions:
        raise ValueError(
            f"the prompt has {len(tokens)} tokens, the model's context is "
            f"{transformer.config.max_positions}"
        )
    cache = transformer.new_cache()
    logits = prefill(transformer, cache, tokens, range(len(tokens)))
    steps = decode(
        transformer,
        cache,
        logits,
        len(tokens),
        max_tokens=max_tokens,
        sampling=sampling or Sampling(),
        stop_ids=tokenizer.stop_ids,
    )
    return spell(steps, tokenizer)


def generate(
    model: LoadedModel,
    prompt: str,
    *,
    max_tokens: int = 128,
    sampling: Sampling | None = None,
    chat: bool = True,
) -> str:
    """The whole answer that `stream` gives."""
    deltas = stream(model, prompt, max_tokens=max_tokens, sampling=sampling, chat=chat)
    return "".join(delta.text for delta in deltas)
