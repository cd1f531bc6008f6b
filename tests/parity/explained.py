"""What `pml explain --json` prints, read as an outsider reads it: who sees whom, and what is there.

Nothing here imports `minillm` or `pml`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

Content = dict[str, Any]

GHOSTS = ("placeholder", "recomputed", "made fresh", "other state", "moved", "left out")
COUNTED = ("cached", "fresh", *GHOSTS, "overlapping", "gaps")


def visibility(content: Content) -> Tensor:
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


def selected(content: Content) -> list[int]:
    """The indices of the tokens that are no ghosts, in the order of positions."""
    spans, tokens = content["spans"], content["tokens"]
    found = [i for i, token in enumerate(tokens) if spans[token["span"]]["kind"] != "ghost"]
    return sorted(found, key=lambda i: tokens[i]["position"])


def contexts(content: Content) -> set[str]:
    """The kinds of contexts that the reused spans were encoded in, scaffolds without number."""
    reused = (span for span in content["spans"] if span["kind"] == "cached")
    return {span["context_kind"].split()[0] for span in reused}


def cover(content: Content, recomputed: int) -> Counter[str]:
    """What a prompt has to show, counted in tokens; `recomputed` of them were computed again.

    Of the ghosts:

        placeholder    stands for an argument
        recomputed     the stored version of a token that is computed again
        made fresh     the stored version of text that is never reused here
        other state    a state of text that is reused here in a richer one
        moved          what a state that stands elsewhere was encoded seeing
        left out       what a state in its own place was encoded seeing and the prompt leaves out
    """
    spans, tokens = content["spans"], content["tokens"]
    kinds = [spans[token["span"]]["kind"] for token in tokens]
    places = [(spans[t["span"]]["path"], t["position"], t["id"]) for t in tokens]
    fresh, cached = (
        {place for place, kind in zip(places, kinds, strict=True) if kind == wanted}
        for wanted in ("fresh", "cached")
    )
    counts = Counter(dict.fromkeys(COUNTED, 0))
    for token, kind, place in zip(tokens, kinds, places, strict=True):
        span = spans[token["span"]]
        if kind == "ghost":
            kind = "moved" if span["moved"] else "left out"
            kind = "other state" if place in cached else kind
            kind = "made fresh" if place in fresh else kind
            kind = "placeholder" if ":" in span["path"] else kind
        counts[kind] += 1
    counts["made fresh"] -= recomputed
    counts["recomputed"] = recomputed
    positions = {token["position"] for token in tokens}
    counts["overlapping"] = len(tokens) - len(positions)
    counts["gaps"] = content["next_position"] - len(
        {tokens[i]["position"] for i in selected(content)}
    )
    return counts
