"""How a tiny model answers the held-out questions, as `pml` runs it, with and without reuse."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minillm.checkpoint import LoadedModel
from pml.build import module, prompt, schema, use
from pml.compare import FullPrefill
from pml.engine import PromptCache
from pml.nodes import Prompt, Schema

QUESTIONS = Path(__file__).parent.parent.parent / "pml" / "eval" / "data" / "tiny-facts.jsonl"
WAYS = ("full", "isolated", "guaranteed")
MAX_TOKENS = 8


@dataclass(frozen=True)
class Item:
    """A question over documents, each of which is a module."""

    kind: str
    schema: Schema
    prompt: Prompt
    answer: str


def items(count: int, kinds: Sequence[str]) -> Iterator[Item]:
    """The first `count` questions of some kinds."""
    with QUESTIONS.open(encoding="utf-8") as file:
        lines = (json.loads(line) for line in file)
        for _, line in zip(range(count), (x for x in lines if x["kind"] in kinds), strict=False):
            yield _item(line)


def _item(line: Mapping[str, Any]) -> Item:
    names = [f"d{number}" for number in range(len(line["documents"]))]
    modules = [module(name, text) for name, text in zip(names, line["documents"], strict=True)]
    declared = schema("facts", *modules, layout="packed")
    asked = prompt(declared, *map(use, names), f"Question: {line['question']} Answer:")
    return Item(line["kind"], declared, asked, line["answer"])


def accuracy(model: LoadedModel, way: str, asked: Sequence[Item]) -> Mapping[str, float]:
    """The share of exactly right answers, by kind."""
    right = defaultdict(list)
    for item in asked:
        right[item.kind].append(_answer(model, way, item).strip() == item.answer)
    return {kind: sum(found) / len(found) for kind, found in right.items()}


def _answer(model: LoadedModel, way: str, item: Item) -> str:
    cache = PromptCache(model, attention="isolated" if way == "isolated" else "guaranteed")
    cache.add_schema(item.schema)
    if way != "full":
        return cache.generate(item.prompt, max_tokens=MAX_TOKENS).text
    plan, full = cache.plan(item.prompt), FullPrefill(model)
    return model.tokenizer.decode(full.answer(plan, full.prefill(plan), MAX_TOKENS))
