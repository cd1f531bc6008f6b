"""A schema ready for prompts: laid out under a tokenizer, its contexts chosen. No model needed."""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import dataclass, field
from typing import cast, get_args

from minillm.tokenizer import Tokenizer
from pml.context import Node, State, closure
from pml.errors import Location, PMLPromptError, PMLSyntaxError, listed
from pml.layout import lay_out
from pml.nodes import ContextName, LayoutName
from pml.plan import PromptPlan
from pml.prompt import Prompt
from pml.recompute import NOTHING, Recompute
from pml.resolve import Resolver
from pml.schema import Schema, parameters_of
from pml.states import states_of

log = logging.getLogger("pml")


@dataclass(frozen=True)
class Planner(Resolver):
    """Plans the prompts of one schema for a model whose context has `max_positions`."""

    max_positions: int = field(kw_only=True)

    def __repr__(self) -> str:
        return f"<Planner of {self.layout.schema.name!r}: {self.positions}, {self.attention}>"

    @classmethod
    def of(
        cls,
        schema: Schema,
        tokenizer: Tokenizer,
        max_positions: int,
        *,
        attention: str | None = None,
        layout: str | None = None,
        fresh_anonymous: int = 16,
    ) -> Planner:
        """Lay `schema` out; `attention` and `layout` override what it says itself.

        Raises `ValueError` for options that there are not, and what `lay_out` raises. Logs a
        warning of `joint`.
        """
        positions, chosen = check_options(schema, attention, layout)
        if chosen == "joint":
            log.warning(
                'schema %r: attention="joint" is for comparison only: the words of modules that a '
                "prompt does not import leak into its answer",
                schema.name,
            )
        laid_out = lay_out(schema, tokenizer)
        for span in laid_out.spans:
            if span.parameter is not None and len(span.tokens) > max_positions:
                owner = laid_out.sections[span.owner].module
                raise PMLSyntaxError(
                    f"parameter {span.parameter!r} holds {len(span.tokens)} tokens, the model's "
                    f"context {max_positions}; lower len",
                    parameters_of(owner)[span.parameter].at,
                    code="context-length",
                )
        states = states_of(laid_out, chosen, positions)
        return cls(
            laid_out,
            states,
            chosen,
            tokenizer,
            fresh_anonymous,
            positions,
            max_positions=max_positions,
        )

    @property
    def usable(self) -> tuple[State, ...]:
        """The states that a prompt within the model's context can reuse, and what they see."""
        spans = [s for s in self.layout.spans if s.cached and s.parameter is None]
        found = [self.states.base[span.index] for span in spans]
        for scaffold in self.states.scaffolds:
            found += [scaffold[span.index] for span in spans if span.index in scaffold]
        fitting = (s for s in found if s.origin + len(s.tokens) <= self.max_positions)
        return tuple(node.state for node in closure(Node(s, s.origin) for s in fitting))

    def plan(
        self, prompt: Prompt, recompute: Recompute = NOTHING, learned: Set[str] = frozenset()
    ) -> PromptPlan:
        """The prompt resolved: every token, its position, and what it sees.

        What of `recompute` is measured is for the engine, which has the states; `learned` holds
        the keys of states that earlier prompts left. Raises `PMLError` for what is wrong with the
        prompt, or if it outgrows the model's context.
        """
        plan = self.resolve(prompt, recompute, learned)
        self.check_length(plan, prompt.at)
        return plan

    def check_length(self, plan: PromptPlan, at: Location) -> None:
        """Raises `PMLPromptError` for a plan that outgrows the model's context."""
        if plan.next_position > self.max_positions:
            advice = "" if self.positions == "packed" else _FIXED_ADVICE
            raise PMLPromptError(
                f"the prompt reaches position {plan.next_position - 1}, the model's context ends "
                f"at {self.max_positions - 1}; import or write less{advice}",
                at,
                code="context-length",
            )


_FIXED_ADVICE = ', or move large modules into a union, or take layout="packed"'


def check_options(
    schema: Schema, attention: str | None, layout: str | None
) -> tuple[LayoutName, ContextName]:
    """The layout and attention to use: what is asked for, else what the schema says, else `fixed`
    and `guaranteed`.

    Raises `ValueError` for one that there is not.
    """
    positions = str(layout or schema.layout or "fixed")
    chosen = str(attention or schema.attention or "guaranteed")
    if positions not in get_args(LayoutName):
        raise ValueError(f"layout is {positions!r}, expected {listed(get_args(LayoutName))}")
    if chosen not in get_args(ContextName):
        names = listed(get_args(ContextName))
        raise ValueError(f"attention is {chosen!r}, expected {names}")
    return cast(LayoutName, positions), cast(ContextName, chosen)
