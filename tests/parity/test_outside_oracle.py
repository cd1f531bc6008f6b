"""An oracle from outside: what `pml explain --json` prints, run by `transformers`.

Mask and positions are rebuilt here from the printed JSON and nothing else; SmolLM2 in float32 then
runs once, plainly, under that mask. The engine, which encodes, stores, copies and appends, must
give the same logits for the prompt's last token.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import generated
import peer
import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from minillm import LoadedModel
from pml import PromptCache
from pml.cli import app

pytestmark = pytest.mark.parity

PROMPTS = 20
ATTENTIONS = ("guaranteed", "isolated")
TOLERANCE = 1e-4
"""The largest difference of two logits, as a part of their range."""


def explained(schema: Path, prompt: str, model: Path, attention: str) -> dict[str, Any]:
    """What the command line prints of a prompt."""
    flags = ["--model", str(model), "--device", "cpu", "--dtype", "float32", "--json"]
    arguments = ["explain", str(schema), prompt, "--attention", attention, *flags]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def visibility(content: dict[str, Any]) -> Tensor:
    """Who sees whom, bool (tokens, tokens), read off the JSON token by token.

    A token sees itself, and at smaller positions: if it is fresh, the fresh and the cached tokens;
    if not, those of its own span and of the spans in its context.
    """
    spans, tokens = content["spans"], content["tokens"]
    mask = torch.eye(len(tokens), dtype=torch.bool)
    at = torch.tensor([token["position"] for token in tokens])
    owner = torch.tensor([token["span"] for token in tokens])
    for query, token in enumerate(tokens):
        span = spans[token["span"]]
        if span["kind"] == "fresh":
            seen = [s["index"] for s in spans if s["kind"] in ("fresh", "cached")]
        else:
            seen = [span["index"], *span["context"]]
        mask[query] |= torch.isin(owner, torch.tensor(seen)) & (at < at[query])
    return mask


def last_token(content: dict[str, Any]) -> int:
    """The index of the token that the answer follows."""
    kinds = [content["spans"][token["span"]]["kind"] for token in content["tokens"]]
    at = [token["position"] for token in content["tokens"]]
    last = max((i for i, kind in enumerate(kinds) if kind != "ghost"), key=at.__getitem__)
    assert at[last] == content["next_position"] - 1
    return last


def cover(content: dict[str, Any]) -> Counter[str]:
    """What a prompt has to show, counted in tokens; gaps in positions.

    Ghosts are placeholders, or older versions of text that is computed afresh.
    """
    spans, tokens = content["spans"], content["tokens"]
    counts = Counter(spans[token["span"]]["kind"] for token in tokens)
    ghosts = [span for span in spans if span["kind"] == "ghost"]
    counts["placeholder"] = sum(span["length"] for span in ghosts if ":" in span["path"])
    counts["older"] = counts["ghost"] - counts["placeholder"]
    positions = {token["position"] for token in tokens}
    selected = {t["position"] for t in tokens if spans[t["span"]]["kind"] != "ghost"}
    counts["overlapping"] = len(tokens) - len(positions)
    counts["gaps"] = content["next_position"] - len(selected)
    return counts


def test_the_engine_does_what_explain_says(
    ours: LoadedModel, theirs: LlamaForCausalLM, folder: Path, tmp_path: Path
) -> None:
    kinds = ("cached", "fresh", "placeholder", "older", "overlapping", "gaps")
    print("\nattention   ", *(f"{kind:>11}" for kind in kinds), "  |Δ| ÷ range   plain causal mask")
    schema, total, differences, plain = tmp_path / "schema.pml", Counter[str](), [], []
    for index, (declared, prompt) in enumerate(generated.documents(PROMPTS)):
        schema.write_text(declared, encoding="utf-8")
        attention = ATTENTIONS[index % len(ATTENTIONS)]
        content = explained(schema, prompt, folder, attention)
        tokens = [token["id"] for token in content["tokens"]]
        positions = [token["position"] for token in content["tokens"]]
        last = last_token(content)
        mask = visibility(content)
        (expected,) = peer.logits(theirs, tokens, positions, mask, keep=torch.tensor([last]))

        cache = PromptCache(ours, attention=attention)
        cache.add_schema(declared)
        differences.append(difference(cache.prefill(prompt).logits, expected))

        total += (counts := cover(content))
        plain.append(difference(without_reuse(theirs, content), expected))
        row = " ".join(f"{counts[kind]:11d}" for kind in kinds)
        print(f"{attention:<12} {row}   {differences[-1]:.1e}       {plain[-1]:.1e}", flush=True)
    assert max(differences) <= TOLERANCE
    assert all(total[kind] > 0 for kind in kinds), "a prompt of each kind is there"
    # One imported module may be all that full prefill is; else the mask must show.
    assert sum(moved > 10 * TOLERANCE for moved in plain) >= PROMPTS * 3 / 4


def without_reuse(model: LlamaForCausalLM, content: dict[str, Any]) -> Tensor:
    """The logits if every token saw all that stands before it: what reuse approximates."""
    spans = content["spans"]
    selected = [t for t in content["tokens"] if spans[t["span"]]["kind"] != "ghost"]
    selected.sort(key=lambda token: token["position"])
    mask = torch.ones(len(selected), len(selected), dtype=torch.bool).tril()
    tokens, positions = ([t[key] for t in selected] for key in ("id", "position"))
    return peer.logits(model, tokens, positions, mask, keep=1)[0]


def difference(found: Tensor, expected: Tensor) -> float:
    spread = expected.max() - expected.min()
    return ((found - expected).abs().max() / spread).item()
