"""SmolLM2-135M-Instruct in float32, from the same GGUF file: logits and greedy answers."""

from __future__ import annotations

from collections.abc import Iterator
from operator import eq
from pathlib import Path

import peer
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, LlamaForCausalLM

from minillm import LoadedModel
from minillm.answer import Answer
from minillm.generate import decode
from minillm.golden_file import load_golden
from minillm.model import ForwardPlan, Run
from minillm.tokenizer import Tokenizer
from pml.steps import CHUNK

pytestmark = pytest.mark.parity

STORY = Path(__file__).parent / "texts" / "a_scandal_in_bohemia.txt"
MAX_TOKENS = 1000
CONTINUED = 64
TOLERANCE = 2e-3

CODE = '''def merge(first: list[int], second: list[int]) -> list[int]:
    """Two sorted lists as one."""
    merged, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        if first[i] <= second[j]:
            merged.append(first[i])
            i += 1
'''
LANGUAGES = (
    "Der Hund läuft über die Straße. ¿Dónde está la biblioteca? Быстрая коричневая лиса. "
    "我能吞下玻璃而不伤身体。 いろはにほへと。 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 and 🦙🧠 ½ × 3.14159 = 1.570795\t\r\n"  # noqa: RUF001
)
QUESTIONS = ("What is the capital of France?", "Write a haiku about the sea.", "Why is 7 prime?")


def texts(tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    """20 prompts of 1 to 1,000 tokens: prose, code, many scripts, numbers, chats."""
    story = tokenizer.encode(STORY.read_text(encoding="utf-8"))
    lengths = [1, 2, 17, 64, 100, 200, 333, CHUNK, CHUNK + 1, 640, 800, 999, MAX_TOKENS]
    for index, length in enumerate(lengths):
        start = 700 * index
        yield f"story from token {start}", story[start : start + length]
    yield "code", tokenizer.encode(CODE)
    yield "languages", tokenizer.encode(LANGUAGES)
    yield "languages, many times", tokenizer.encode(LANGUAGES * 20)[:MAX_TOKENS]
    yield "numbers", tokenizer.encode(" ".join(str(n * n) for n in range(150)))[:MAX_TOKENS]
    user, assistant = tokenizer.roles["user"], tokenizer.roles["assistant"]
    for question in QUESTIONS:
        turn = [*user.open, *tokenizer.encode(question), *user.close, *assistant.open]
        yield f"chat: {question}", turn


def ours_of(model: LoadedModel, tokens: list[int]) -> tuple[Tensor, list[int]]:
    """Logits (T, V) of all tokens, in the chunks of a batch, and the greedy continuation."""
    cache = model.transformer.new_cache(len(tokens) + CONTINUED)
    parts = []
    for start in range(0, len(tokens), CHUNK):
        ids = torch.tensor(tokens[start : start + CHUNK])
        plan = ForwardPlan([Run(cache, len(ids))], range(len(ids)))
        parts.append(model.transformer(ids, torch.arange(start, start + len(ids)), plan))
    answer = Answer(model, cache, len(tokens), max_tokens=CONTINUED, stop_ids=frozenset())
    for _ in decode(model.transformer, answer, parts[-1][-1]):
        pass
    return torch.cat(parts), answer.tokens


def theirs_of(model: LlamaForCausalLM, tokens: list[int]) -> tuple[Tensor, list[int]]:
    """The same of `transformers`, run as its users run it."""
    cache = DynamicCache(config=model.config)
    prompt = latest = peer.logits(model, tokens, cache=cache)
    continuation: list[int] = []
    for _ in range(CONTINUED):
        if continuation:
            latest = peer.logits(model, continuation[-1:], cache=cache)
        continuation.append(int(latest[-1].argmax()))
    return prompt, continuation


def test_logits_and_continuations(ours: LoadedModel, theirs: LlamaForCausalLM) -> None:
    print(f"\n{'text':<42} tokens   max |Δ|   range   greedy tokens equal")
    failed, cases = [], list(texts(ours.tokenizer))
    assert len(cases) == 20
    for name, tokens in cases:
        expected, their_answer = theirs_of(theirs, tokens)
        found, our_answer = ours_of(ours, tokens)
        difference = (found - expected).abs().max().item()
        spread = (expected.max() - expected.min()).item()
        equal = sum(map(eq, our_answer, their_answer)) if len(our_answer) == CONTINUED else 0
        print(
            f"{name:<42} {len(tokens):6d}   {difference:.1e}   {spread:5.1f}   {equal}/{CONTINUED}"
        )
        if difference > TOLERANCE or equal < CONTINUED:
            failed.append(name)
    assert not failed


def test_golden_logits_are_those_of_transformers(
    folder: Path, ours: LoadedModel, theirs: LlamaForCausalLM
) -> None:
    """What `minillm verify` compares with: at contiguous positions, far ones, and with gaps."""
    golden = load_golden(folder, ours.config)
    for positions, rows in zip(golden.positions, golden.rows, strict=True):
        mask = torch.ones(len(positions), len(positions), dtype=torch.bool).tril()
        expected = peer.logits(theirs, list(golden.tokens), list(positions), mask, keep=len(rows))
        for row, logits in zip(rows, expected, strict=True):
            kept = torch.tensor(list(row.values()))
            assert (logits[list(row)] - kept).abs().max() <= TOLERANCE
