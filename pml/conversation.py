"""A chat as a text that grows by turns and answers: what stands where. Nothing is computed here.

    turn      ├ schema's text ┤├ a ┤├ schema's text ┤├ user: Why? ┤├ assistant: ┤
    answer                                                                      ├ Because. ┤
    turn      ├ end of the answer ┤├ b ┤├ user: And now? ┤├ assistant: ┤

It is one prompt in the layout `packed` that never ends. What stands keeps its position and its
state; a turn adds what it imports and says. An answer is the ids that were generated. In the layout
`fixed` there is no such text: the places of what a later turn imports lie before what was said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from pml.asked import Reader
from pml.errors import PMLError, PMLPromptError
from pml.layout import last_role, role_markers
from pml.learned import content
from pml.packed import place_packed
from pml.placement import Fresh, Standing
from pml.plan import PromptPlan
from pml.planner import Planner
from pml.prompt import Argument, Prompt, PromptNode, check_prompt
from pml.recompute import NOTHING, Recompute

ANSWER = "answer"
"""How an answer, and the marker that ends it, is called among the paths of a plan."""


@dataclass(frozen=True)
class Conversation:
    """What has been said so far; each turn and answer gives a new one.

    `arguments` and `children` are those of all turns as one prompt, `standing` the spans of the
    schema in order, `role` that of the last turn, and `closing` what ends an open answer.
    """

    planner: Planner
    plan: PromptPlan
    role: str | None
    arguments: Mapping[str, Argument]
    children: tuple[PromptNode, ...] = ()
    standing: tuple[Standing, ...] = ()
    closing: tuple[int, ...] = ()

    @classmethod
    def of(cls, planner: Planner) -> Conversation:
        """Nothing said yet. Raises `PMLError` in the layout `fixed`."""
        schema = planner.layout.schema
        if planner.positions != "packed":
            message = (
                f"schema {schema.name!r} has the layout {planner.positions!r}, in which nothing"
            )
            advice = 'can be imported behind what was said; a chat takes layout="packed"'
            raise PMLError(f"{message} {advice}", schema.at, code="chat")
        empty = PromptPlan(schema.name, planner.positions, planner.attention, (), (), {})
        return cls(planner, empty, last_role(schema), {})

    def turn(
        self, turn: Prompt, recompute: Recompute = NOTHING, learned: Set[str] = frozenset()
    ) -> tuple[PromptPlan, Conversation]:
        """The plan of what `turn` adds, and the conversation with it.

        Raises `PMLError` where the turn does not fit the schema and the turns before it, holds no
        token, or outgrows the model's context.
        """
        planner, layout, tokenizer = self.planner, self.planner.layout, self.planner.tokenizer
        whole = self._with(turn)
        check_prompt(whole, layout.schema, repeat=True)
        reader = Reader(layout, tokenizer, self.role)
        asked = reader.prompt(turn)
        closed = self._text(self.closing)
        start = closed.next_position
        placement = place_packed(asked, layout, tokenizer, start)
        before = content(closed.placed, closed.texts)
        part = planner.reuse(placement, recompute, learned, self.standing, before)
        if part.is_empty:
            message = "the turn holds no token: no text, and no module"
            raise PMLPromptError(message, turn.at, code="empty-prompt")
        plan = closed.then(part)
        planner.check_length(plan, turn.at)
        markers = role_markers(tokenizer, "assistant", turn.at) if reader.is_asking else None
        conversation = replace(
            self,
            plan=plan,
            role="assistant" if markers else reader.before,
            arguments=whole.arguments,
            children=whole.children,
            standing=(*self.standing, *placement.standing),
            closing=markers.close if markers else (),
        )
        return replace(part, texts=plan.texts[len(self.plan.texts) :]), conversation

    def answered(self, tokens: Sequence[int]) -> Conversation:
        """The conversation with the ids `tokens` as the answer to its last turn."""
        return replace(self, plan=self._text(tokens))

    def _text(self, tokens: Sequence[int]) -> PromptPlan:
        """The plan with new text by the assistant."""
        text = Fresh(ANSWER, (), self.plan.next_position, tuple(tokens))
        return replace(self.plan, texts=(*self.plan.texts, text)) if tokens else self.plan

    def _with(self, turn: Prompt) -> Prompt:
        """All turns as one prompt."""
        if turn.arguments and not self.plan.is_empty:
            first = next(iter(turn.arguments.values()))
            message = "arguments of the schema's own text belong to the first turn of a chat"
            raise PMLPromptError(message, first.at, code="chat")
        arguments = {**self.arguments, **turn.arguments}
        return replace(turn, arguments=arguments, children=(*self.children, *turn.children))
