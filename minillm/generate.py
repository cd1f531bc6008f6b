"""Prefill and decode: from tokens at positions to a stream of new tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minillm.answer import Answer, Delta, check_max_tokens
from minillm.kv import KVCache
from minillm.model import Cancelled, ForwardPlan, Run, Transformer
from minillm.sampling import Sampling

if TYPE_CHECKING:
    from minillm.checkpoint import LoadedModel

CHUNK = 1024
"""New tokens of one text in one forward at most. With SmolLM2 in float32 on two cores, 256, 512,
1,024 and 2,048 tokens at a time take 14.9, 13.5, 13.1 and 16.1 seconds for 4,096."""


def never() -> bool:
    return False


def prefill(
    model: Transformer,
    cache: KVCache,
    tokens: Sequence[int],
    positions: Sequence[int],
    progress: Callable[[int], None] | None = None,
    *,
    base: KVCache | None = None,
    cancelled: Callable[[], bool] = never,
) -> Tensor:
    """Run `tokens` at `positions` over `base` and `cache`, in chunks; the last one's logits (V,).

    The positions must ascend, so that every token's predecessors are in the cache before it.
    Where keys depend on the length of the whole text it is one chunk. `progress` is told the
    number of tokens of each finished chunk. `cancelled` is asked before each layer of each chunk:
    raises `Cancelled`, and leaves nothing of the tokens in the cache, as any other error does.
    """
    if not tokens:
        raise ValueError("there is no token to compute, so there are no logits")
    cache.reserve(len(tokens))
    logits, before = torch.empty(0), cache.num_slots
    chunk = len(tokens) if model.config.follows_length else CHUNK
    try:
        for start in range(0, len(tokens), chunk):
            ids = torch.tensor(tokens[start : start + chunk], device=model.device)
            at = torch.tensor(positions[start : start + chunk], device=model.device)
            last = start + chunk >= len(tokens)
            runs = [Run(cache, len(ids), base=base)]
            logits_of = [len(ids) - 1] if last else []
            logits = model(ids, at, ForwardPlan(runs, logits_of, cancelled=cancelled))
            if progress:
                progress(len(ids))
    except BaseException:
        cache.truncate(before)
        raise
    return logits[-1]


def advance(model: Transformer, answers: Sequence[Answer]) -> Tensor:
    """Take in the last token of each answer, all in one forward; its logits (B, V).

    Which answers there are may change from step to step. Those with a common base share its part
    of the attention.
    """
    bases = list(dict.fromkeys(answer.base for answer in answers))
    order = sorted(range(len(answers)), key=lambda index: bases.index(answers[index].base))
    packed = [answers[index] for index in order]
    tokens = torch.tensor([answer.tokens[-1] for answer in packed], device=model.device)
    positions = torch.tensor([answer.position for answer in packed], device=model.device)
    runs = [Run(answer.cache, 1, base=answer.base) for answer in packed]
    places = sorted(range(len(order)), key=order.__getitem__)
    logits: Tensor = model(tokens, positions, ForwardPlan(runs, places))
    for answer in answers:
        answer.position += 1
    return logits


def decode(
    model: Transformer,
    answer: Answer,
    logits: Tensor,
    *,
    cancelled: Callable[[], bool] = never,
) -> Iterator[Delta]:
    """`answer` token by token, the first from `logits` (V,): a batch of one.

    A token is yielded before its forward runs, so that the first one is out as soon as it is known.
    `cancelled` is asked before each forward: raises `Cancelled`, and leaves nothing of the answer
    in its cache.
    """
    before = answer.cache.num_slots
    yield from answer.take(logits)
    while answer.finish_reason is None:
        if cancelled():
            answer.cache.truncate(before)
            raise Cancelled
        yield from answer.take(advance(model, [answer])[0])


def stream(
    model: LoadedModel,
    prompt: str,
    *,
    max_tokens: int = 128,
    sampling: Sampling | None = None,
    chat: bool = True,
    stop: Sequence[str] = (),
) -> Iterator[Delta]:
    """The answer to a plain `prompt`, piece by piece, without any reuse.

    With `chat`, and a model that has chat markers, the prompt is a user's turn. The answer ends
    before the first of the texts `stop`. Raises `ValueError` for a prompt that is empty or longer
    than the model's context.
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
    answer = Answer(
        model,
        cache,
        len(tokens),
        max_tokens=max_tokens,
        sampling=sampling,
        prompt=tokens,
        stop=stop,
    )
    return decode(transformer, answer, logits)


def generate(
    model: LoadedModel,
    prompt: str,
    *,
    max_tokens: int = 128,
    sampling: Sampling | None = None,
    chat: bool = True,
    stop: Sequence[str] = (),
) -> str:
    """The whole answer that `stream` gives."""
    deltas = stream(model, prompt, max_tokens=max_tokens, sampling=sampling, chat=chat, stop=stop)
    return "".join(delta.text for delta in deltas)
