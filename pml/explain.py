"""A compiled prompt as plain data: every token, its position, its span, and what the span sees.

From this alone the oracle can be rebuilt: a token of a cached or ghost span sees that span and the
spans in its `context`, a token of a fresh span sees fresh and cached spans; always only what
stands at smaller positions, and itself.
"""

from __future__ import annotations

from pml.engine import PromptCache
from pml.plan import PromptPlan


def explain(cache: PromptCache, plan: PromptPlan) -> dict[str, object]:
    """What `pml explain --json` prints; `state` tells what the store holds before the run."""
    missing = set(cache.missing(plan))

    def state(kind: str, is_missing: bool) -> str:
        return "none" if kind == "fresh" else "miss" if is_missing else "hit"

    return {
        "schema": plan.schema,
        "layout": "fixed",
        "attention": plan.attention,
        "model": cache.model.name,
        "dtype": str(cache.model.transformer.dtype).removeprefix("torch."),
        "spans": [
            {
                "index": index,
                "path": span.path,
                "kind": span.kind,
                "start": span.start,
                "length": len(span.tokens),
                "context": list(span.context),
                "state": state(span.kind, span.node in missing),
            }
            for index, span in enumerate(plan.spans)
        ],
        "tokens": [
            {"id": token, "position": span.start + place, "span": index}
            for index, span in enumerate(plan.spans)
            for place, token in enumerate(span.tokens)
        ],
        "next_position": plan.next_position,
    }
