"""A compiled prompt as plain data: every token, its position, its span, and what the span sees.

From this alone the oracle can be rebuilt: a token of a cached or ghost span sees that span and the
spans in its `context`, a token of a fresh span sees fresh and cached spans; always only what
stands at smaller positions, and itself.
"""

from __future__ import annotations

from pml.context import Node
from pml.engine import PromptCache
from pml.plan import PromptPlan


def explain(cache: PromptCache, plan: PromptPlan) -> dict[str, object]:
    """What `pml explain --json` prints; `state` tells what the store holds before the run, and is
    "none" where no state is needed: for fresh spans, and for ghosts that nothing sees."""
    needed = set(plan.states)

    def state(node: Node | None) -> str:
        if node is None or node.state not in needed:
            return "none"
        return "hit" if cache.is_stored(node.state) else "miss"

    return {
        "version": 1,
        "schema": plan.schema,
        "layout": plan.layout,
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
                "state": state(span.node),
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
