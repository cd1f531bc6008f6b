"""Many prompts that share 4,000 cached tokens, in a batch and one by one: `make bench`.

    python scripts/bench_batch.py --model weights/smollm2-135m-instruct [--dtype bfloat16 float32]

Of each dtype: the bytes of module states that the batch holds, the throughput of prefill and of
decoding as ratios to the same prompts one by one, measured in turn, and whether the greedy answers
are the same. Run it alone: two jobs on the same cores slow one another many times over.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from statistics import median

import torch

from minillm import LoadedModel, load
from pml import PromptCache
from pml.batch import Batch

DECODE_AIM = 4.0
"""How many times as many tokens a second a batch of 16 shall give."""

QUESTIONS = ("Who is named first?", "Give a short summary.", "What happened in the end?", "Why?")


def prompts(model: LoadedModel, tokens: int, count: int) -> tuple[str, list[str]]:
    """A schema of two modules with `tokens` tokens together, and prompts that import both."""
    sentence = "The river rises in the mountains and reaches the sea after many days. "
    length = len(model.tokenizer.encode(sentence * 100)) / 100
    text = sentence * round(tokens / 2 / length)
    modules = "".join(f'<module name="{name}">{name}: {text}</module>' for name in ("one", "two"))
    asked = [f"{number}. {QUESTIONS[number % len(QUESTIONS)]}" for number in range(count)]
    return (
        f'<schema name="s"><system>Answer in one sentence.\n{modules}</system></schema>',
        [f'<prompt schema="s"><one/><two/><user>{question}</user></prompt>' for question in asked],
    )


@dataclass(frozen=True)
class Round:
    """All prompts answered once: seconds to their first tokens, seconds from there, the answers."""

    prefill: float
    decode: float
    answers: list[tuple[int, ...]]

    @property
    def steps(self) -> int:
        """Tokens that decoding gave: all but the first of each answer."""
        return sum(len(answer) - 1 for answer in self.answers)


def alone(cache: PromptCache, asked: list[str], length: int) -> Round:
    """One by one, all in the same buffer, which keeps the modules."""
    answers = [cache.generate(prompt, max_tokens=length) for prompt in asked]
    return Round(
        sum(answer.timings.ttft for answer in answers),
        sum(answer.timings.decode for answer in answers),
        [answer.tokens for answer in answers],
    )


def together(batch: Batch, asked: list[str], length: int) -> tuple[Round, int]:
    """In a batch, whose base keeps the modules; with the bytes of all that is held of them."""
    started = time.perf_counter()
    requests = [batch.add(prompt, max_tokens=length) for prompt in asked]
    while not all(request.deltas for request in requests):
        batch.step()
    first = time.perf_counter()
    slots = sum(base.cache.num_slots for base in batch.bases.values())
    for request in requests:
        if request.answer is not None:
            base = request.answer.base
            slots += request.plan.num_cached - (base.num_slots if base else 0)
    while batch.requests:
        batch.step()
    done = time.perf_counter()
    answers = [request.completion().tokens for request in requests]
    model = batch.library.model
    size = model.config.kv_bytes_per_token(model.transformer.dtype.itemsize)
    return Round(first - started, done - first, answers), slots * size


def measure(model: LoadedModel, tokens: int, count: int, length: int, repeats: int) -> None:
    schema, asked = prompts(model, tokens, count)
    cache = PromptCache(model)
    cache.add_schema(schema)
    cache.encode_schema("s")
    batch, ones, many, held = Batch(cache, size=count), list[Round](), list[Round](), 0
    for _ in range(1 + repeats):  # the first is the warm-up
        ones.append(alone(cache, asked, length))
        round, held = together(batch, asked, length)
        many.append(round)
    plan = cache.plan(asked[0])
    size = model.config.kv_bytes_per_token(model.transformer.dtype.itemsize)
    print(f"{model.name}, {model.transformer.dtype}, {torch.get_num_threads()} threads")
    print(f"{count} prompts, {plan.num_cached:,} tokens reused + {plan.num_fresh} computed each")
    print(f"module states held: {held / 1e6:.1f} MB = {held / plan.num_cached / size:.2f} copies")
    prefill = median(a.prefill / b.prefill for a, b in zip(ones[1:], many[1:], strict=True))
    rates = [[r.steps / r.decode for r in rounds[1:]] for rounds in (ones, many)]
    decode = median(b / a for a, b in zip(*rates, strict=True))
    print(f"prefill: {median(r.prefill for r in many[1:]):.2f} s, {prefill:.2f} times as fast")
    print(
        f"decode: {median(rates[1]):.1f} tokens/s, {decode:.2f} times as many as one by one "
        f"(aim {DECODE_AIM})"
    )
    same = sum(a == b for a, b in zip(ones[-1].answers, many[-1].answers, strict=True))
    print(f"the same greedy answers: {same} of {count}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights/smollm2-135m-instruct")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    for dtype in a.dtype:
        model = load(a.model, dtype=getattr(torch, dtype))
        measure(model, a.tokens, a.prompts, a.length, a.repeats)


if __name__ == "__main__":
    main()
