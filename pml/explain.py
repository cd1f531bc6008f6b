"""A compiled prompt as plain data: every token, its position, its span, and what the span sees.

From this alone the oracle can be rebuilt: a token of a cached or ghost span sees that span and the
spans in its `context`, a token of a fresh span sees fresh and cached spans; always only what
stands at smaller positions, and itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from pml.context import State
from pml.engine import PromptCache
from pml.plan import PlanSpan, PromptPlan
from pml.states import states_of


def explain(cache: PromptCache, plan: PromptPlan) -> dict[str, object]:
    """What `pml explain --json` prints. Of the state that a span stands for, as the store is before
    the run:

        context_kind    guaranteed, isolated, joint, learned; `scaffold 2`, the schema's second one
        moved           how many positions from where its keys are encoded for
        state           hit, miss, or none for a ghost that nothing sees and for fresh text
        tier            of a hit: where it lies: memory (on a GPU: device, host), disk, remote
        encode_s        of a hit: what encoding it took, in seconds
        reason          of a miss: why, as far as the store can tell: evicted, expired, damaged,
                        stored for another position or in another context, never encoded
        bytes           of its keys and values, stored or still to be

    What does not apply is null.
    """
    states = _States(cache, plan)
    return {
        "schema": plan.schema,
        "layout": plan.layout,
        "attention": plan.attention,
        "model": cache.model.name,
        "dtype": cache.model.transformer.dtype_name,
        "spans": [
            {
                "index": index,
                "path": span.path,
                "kind": span.kind,
                "start": span.start,
                "length": len(span.tokens),
                "context": list(span.context),
                **states.told(span),
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


class _States:
    """What there is to tell of the states in a plan."""

    def __init__(self, cache: PromptCache, plan: PromptPlan) -> None:
        self._cache = cache
        self._needed = set(plan.states)
        self._kinds: dict[State, str] = {}
        self._alike: dict[tuple[str, tuple[int, ...]], list[State]] = {}
        for state, kind in self._declared(plan):
            self._kinds.setdefault(state, kind)
            self._alike.setdefault((state.path, state.tokens), []).append(state)

    def _declared(self, plan: PromptPlan) -> Iterator[tuple[State, str]]:
        """The schema's states and how each was encoded; where two are the same, that which counts
        comes first."""
        planner = self._cache.schemas[plan.schema]
        states, attention = planner.states, planner.attention
        if plan.layout != planner.positions:  # of a chat, over a schema that says no layout
            states = states_of(planner.layout, attention, plan.layout)
        always = "guaranteed" if attention == "learned" else attention
        yield from ((state, always) for state in states.base)
        for number, scaffold in enumerate(states.scaffolds, 1):
            yield from ((state, f"scaffold {number}") for state in scaffold.values())

    def told(self, span: PlanSpan) -> dict[str, object]:
        told: dict[str, object] = {"context_kind": None, "moved": None, "state": "none"}
        told |= dict.fromkeys(("tier", "encode_s", "reason", "bytes"))
        if span.node is None:
            return told
        state = span.node.state
        told |= {"context_kind": self._kind(state), "moved": span.node.start - state.origin}
        if state in self._needed:
            model = self._cache.model
            size = model.config.kv_bytes_per_token(model.transformer.dtype.itemsize)
            told |= {"bytes": len(span.tokens) * size} | self._stored(state)
        return told

    def _kind(self, state: State) -> str:
        return self._kinds.get(state, "learned")

    def _stored(self, state: State) -> dict[str, object]:
        key, store = self._cache.key_of(state), self._cache.store
        tier, about = store.where(key), store.about(key)
        if tier is None or about is None:
            return {"state": "miss", "reason": store.why_missing(key) or self._reason(state)}
        return {"state": "hit", "tier": tier, "encode_s": about.seconds}

    def _reason(self, state: State) -> str:
        origins = self._cache.store.origins(self._cache.key_of(state))
        if origins:
            return f"stored for position {origins[0]} only"
        alike = self._alike.get((state.path, state.tokens), ())
        kinds = dict.fromkeys(self._kind(s) for s in alike if self._cache.is_stored(s))
        return f"stored as {' and '.join(kinds)} only" if kinds else "never encoded"
