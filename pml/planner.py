"""A schema ready for prompts: laid out under a tokenizer, its contexts chosen. No model needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from minillm.tokenizer import Tokenizer
from pml.context import ATTENTIONS, Attention, Node, closure, nodes_of
from pml.errors import PMLPromptError, PMLSyntaxError, listed
from pml.layout import Layout, lay_out
from pml.nodes import ContextName, LayoutName
from pml.plan import PromptPlan, resolve
from pml.prompt import Prompt
from pml.schema import Schema


class NotBuiltYet(ValueError):
    """An option of the language that this version does not have."""


@dataclass(frozen=True)
class Planner:
    """Plans the prompts of one schema. `nodes` are those of the layout's spans, in their order."""

    layout: Layout
    attention: Attention
    nodes: tuple[Node, ...]
    tokenizer: Tokenizer
    max_positions: int
    fresh_anonymous: int

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

        Raises `NotBuiltYet` for options this version lacks, and what `lay_out` raises.
        """
        chosen = check_options(schema, attention, layout)
        laid_out = lay_out(schema, tokenizer)
        for slot in laid_out.slots:
            if slot.parameter.length > max_positions:
                raise PMLSyntaxError(
                    f"parameter {slot.parameter.name!r} holds {slot.parameter.length} tokens, the "
                    f"model's context {max_positions}; lower len",
                    slot.parameter.at,
                )
        nodes = nodes_of(laid_out, chosen)
        return cls(laid_out, chosen, nodes, tokenizer, max_positions, fresh_anonymous)

    @property
    def usable(self) -> tuple[Node, ...]:
        """The nodes that a prompt within the model's context can reuse, and what they see."""
        reusable = (
            self.nodes[span.index]
            for span in self.layout.spans
            if span.cached and span.parameter is None and span.stop <= self.max_positions
        )
        return tuple(closure(reusable))

    def plan(self, prompt: Prompt) -> PromptPlan:
        """The prompt resolved: every token, its position, and what it sees.

        Raises `PMLError` for what is wrong with it, or if it outgrows the model's context.
        """
        plan = resolve(
            prompt, self.layout, self.nodes, self.attention, self.tokenizer, self.fresh_anonymous
        )
        if plan.next_position > self.max_positions:
            raise PMLPromptError(
                f"the prompt reaches position {plan.next_position - 1}, the model's context ends "
                f"at {self.max_positions - 1}; import less, or move large modules into a union",
                prompt.at,
            )
        return plan


def check_options(schema: Schema, attention: str | None, layout: str | None) -> Attention:
    """The attention to use: what is asked for, else what the schema says, else `guaranteed`.

    Raises `NotBuiltYet` for a layout or an attention that this version does not have.
    """
    chosen_layout = layout or schema.layout or "fixed"
    if chosen_layout not in get_args(LayoutName):
        raise ValueError(f"layout is {chosen_layout!r}, expected {listed(get_args(LayoutName))}")
    if chosen_layout != "fixed":
        raise NotBuiltYet(f'layout "{chosen_layout}" is not built yet; this version has "fixed"')
    chosen = attention or schema.attention or "guaranteed"
    if chosen not in get_args(ContextName):
        names = listed(get_args(ContextName))
        raise ValueError(f"attention is {chosen!r}, expected {names}")
    if schema.scaffolds:
        raise NotBuiltYet("<scaffold> is not built yet; leave it out")
    for known in ATTENTIONS:
        if chosen == known:
            return known
    names = " and ".join(f'"{name}"' for name in ATTENTIONS)
    raise NotBuiltYet(f'attention "{chosen}" is not built yet; this version has {names}')
