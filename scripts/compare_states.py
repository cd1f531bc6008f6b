"""What smaller states cost: bytes, logits, answers and time to first token of each codec.

    python scripts/compare_states.py --model weights/smollm2-135m-instruct [--dtype bfloat16]

Asks questions about one paragraph each (by default the 50 XQuAD questions of `tests/parity`, one
schema with a module per paragraph, `guaranteed`), greedily, 32 tokens, with the states in a store
on disk under each codec: a new process' first look at them ("disk": read, restored, copied) and
the next one ("memory"). All is compared with the answers from states as computed, in the same
dtype. "Same text": token for token. "Same result": whether the answer has the accepted words.

Ends with exit code 1 if int8 gives less than 98 % of the results, or is not half of bfloat16's
bytes, within 2 % of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median
from typing import get_args

import torch
from torch import Tensor

from minillm import LoadedModel, load
from pml import PromptCache
from pml.eval.question import divergence
from pml.store import open_store
from pml.store.codec import CodecName, codec_for

QUESTIONS = Path("tests/parity/xquad_en/questions.jsonl")
SYSTEM = "Answer the question about this text in a few words."
MAX_TOKENS = 32
LEAST_SAME, HALF = 0.98, 0.02


@dataclass(frozen=True)
class Questions:
    """Each about one paragraph, with the answers that are accepted."""

    paragraphs: list[str]
    questions: list[str]
    accepted: list[list[str]]

    @classmethod
    def read(cls, path: Path) -> Questions:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return cls(*([e[name] for e in entries] for name in ("paragraph", "question", "answers")))

    @property
    def schema(self) -> str:
        modules = (
            f'<module name="q{n}"><user>{escape(text)}</user></module>'
            for n, text in enumerate(self.paragraphs)
        )
        union = f"<union>{''.join(modules)}</union>"
        return f'<schema name="xquad"><system>{SYSTEM}</system>{union}</schema>'

    @property
    def prompts(self) -> list[str]:
        return [
            f'<prompt schema="xquad"><q{n}/><user>{escape(question)}</user></prompt>'
            for n, question in enumerate(self.questions)
        ]

    def right(self, texts: list[str]) -> list[bool]:
        return [
            any(answer.lower() in text.lower() for answer in accepted)
            for text, accepted in zip(texts, self.accepted, strict=True)
        ]


@dataclass(frozen=True)
class Run:
    """All questions under one codec."""

    num_bytes: int
    logits: list[Tensor]
    tokens: list[tuple[int, ...]]
    texts: list[str]
    from_disk: float
    from_memory: float


def run(model: LoadedModel, asked: Questions, name: CodecName, folder: Path) -> Run:
    """Encoded into a new store in `folder`, then answered by one that finds them there."""

    def opened() -> PromptCache:
        cache = PromptCache(model, store=open_store(folder, codec=codec_for(name, model.config)))
        cache.add_schema(asked.schema)
        return cache

    cache = opened()
    cache.encode_schema("xquad")
    cache.store.close()
    cache = opened()
    logits, disk, memory = [], [], []
    for prompt in asked.prompts:
        disk.append(_seconds(lambda prompt=prompt: logits.append(cache.prefill(prompt).logits)))
        assert not cache.store.misses, "the store does not have what it was given"
        cache.forget_buffer()
        memory.append(_seconds(lambda prompt=prompt: cache.prefill(prompt)))
        cache.forget_buffer()
    done = cache.batch(asked.prompts, max_tokens=MAX_TOKENS)
    num_bytes = _packed_bytes(cache, name)
    cache.store.close()
    tokens, texts = [one.tokens for one in done], [one.text for one in done]
    return Run(num_bytes, logits, tokens, texts, median(disk), median(memory))


def _packed_bytes(cache: PromptCache, name: CodecName) -> int:
    """Of the tensors that the codec makes of all states."""
    codec = codec_for(name, cache.model.config)
    segments, _ = cache.segments(cache.schemas["xquad"].usable)
    packed = (codec.pack(segment) for segment in segments.values())
    return sum(tensor.nbytes for one in packed for tensor in one.tensors.values())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def row(name: str, found: Run, exact: Run, asked: Questions, half: float) -> str:
    pairs = [*zip(exact.logits, found.logits, strict=True)]
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    spread = max(float(a.max() - a.min()) for a, _ in pairs)
    kl = [divergence(a, b) for a, b in pairs]
    same = sum(a == b for a, b in zip(exact.tokens, found.tokens, strict=True))
    results = same_results(found, exact, asked)
    return (
        f"{name:<9} {found.num_bytes / 1e6:8.1f} {found.num_bytes / half:8.1%} "
        f"{difference:8.3f} {difference / spread:8.2%} {max(kl):9.1e} {sum(kl) / len(kl):9.1e} "
        f"{same:6} {results:8} {sum(asked.right(found.texts)):6} "
        f"{found.from_disk * 1e3:8.1f} {found.from_memory * 1e3:8.1f}"
    )


def same_results(found: Run, exact: Run, asked: Questions) -> int:
    pairs = zip(asked.right(exact.texts), asked.right(found.texts), strict=True)
    return sum(a == b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dtype", default="float32", choices=["bfloat16", "float32"])
    parser.add_argument("--questions", type=Path, default=QUESTIONS, metavar="FILE")
    arguments = parser.parse_args()
    model = load(arguments.model, dtype=getattr(torch, arguments.dtype))
    asked = Questions.read(arguments.questions)
    print(f"{model.name}, {arguments.dtype}, {len(asked.questions)} questions")
    print(
        "codec           MB  of bf16  max |Δ|  of range   KL max   KL mean  "
        "texts  results  right  disk, ms  memory"
    )
    runs: dict[CodecName, Run] = {}
    for name in get_args(CodecName):
        with tempfile.TemporaryDirectory() as folder:
            runs[name] = run(model, asked, name, Path(folder))
        half = runs["native"].num_bytes / model.transformer.dtype.itemsize * 2
        print(row(name, runs[name], runs["native"], asked, half), flush=True)
    same = same_results(runs["int8"], runs["native"], asked) / len(asked.questions)
    size = runs["int8"].num_bytes / runs["bfloat16"].num_bytes
    print(f"int8: {same:.1%} of the results the same (limit {LEAST_SAME:.0%}), {size:.1%} of bf16")
    sys.exit(0 if same >= LEAST_SAME and abs(size - 0.5) <= HALF else 1)


if __name__ == "__main__":
    main()
