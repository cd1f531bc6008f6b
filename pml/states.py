"""The states of a schema's spans: one for every context that a span can be encoded in.

    base         for each span one that is always usable: `isolated`, `guaranteed` or `joint`
                 (`learned` is `guaranteed`, and what `learned.py` adds)
    scaffolds    for each scaffold a further one for every span of its pass

A context is one causal pass over some spans. In the layout `fixed` they stand where the schema puts
them, in `packed` one after another from position 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from pml.context import Context, State
from pml.layout import Layout, Span, name_of
from pml.nodes import ContextName, LayoutName, ModulePath, Scaffold, unions_of
from pml.rules import scaffold_paths

ATTENTIONS: tuple[ContextName, ...] = get_args(ContextName)


@dataclass(frozen=True)
class States:
    """`base` by the index of a span; `scaffolds` likewise, each in the order of its pass."""

    base: tuple[State, ...]
    scaffolds: tuple[dict[int, State], ...]

    @property
    def all(self) -> tuple[State, ...]:
        return (*self.base, *(state for one in self.scaffolds for state in one.values()))


def states_of(layout: Layout, attention: ContextName, positions: LayoutName = "fixed") -> States:
    """All states of a schema under an attention, at the positions of a layout."""
    packed = positions == "packed"
    base = joint_states(layout, packed) if attention == "joint" else None
    base = base or base_states(layout, packed, isolated=attention == "isolated")
    passes = (scaffold_states(layout, one, packed) for one in layout.schema.scaffolds)
    return States(tuple(base), tuple(passes))


@dataclass(frozen=True)
class _Pass:
    """Where a causal pass has come to: what it has seen, and the position after it."""

    seen: Context | None = None
    end: int = 0

    def state(self, span: Span, packed: bool, *, stands_in: bool = False) -> State:
        """The state of `span` as the next one of the pass.

        With `stands_in` a parameter's words stand in its slot, if it has any.
        """
        tokens = span.stand_in if stands_in and span.stand_in else span.tokens
        origin = self.end if packed else span.start
        distance = origin - self.seen.state.origin if self.seen else 0
        path, is_placeholder = name_of(span.owner, span.parameter), span.parameter is not None
        return State.of(tokens, origin, path, self.seen, distance, is_placeholder=is_placeholder)

    def after(self, state: State) -> _Pass:
        """The pass when `state`, its next one, has been seen too."""
        return _Pass(Context(state, self.seen, state.distance), state.origin + len(state.tokens))


def base_states(layout: Layout, packed: bool, *, isolated: bool) -> Iterator[State]:
    """`guaranteed`: a span sees what every prompt that holds it holds before it: BOS and anonymous
    text, the text of its module's ancestors, its module's own; placeholders among them.
    `isolated` (the paper): its module's own only. Anonymous text sees anonymous text under both."""
    passes: dict[ModulePath, _Pass] = {}
    for span in layout.spans:
        here = passes.get(span.owner)
        if here is None:
            around = (span.owner[:depth] for depth in reversed(range(len(span.owner))))
            found = (passes[path] for path in around if path in passes)
            here = _Pass() if isolated else next(found, _Pass())
        state = here.state(span, packed)
        passes[span.owner] = here.after(state)
        yield state


def scaffold_states(layout: Layout, scaffold: Scaffold, packed: bool) -> dict[int, State]:
    """One causal pass over a scaffold's members, what they are guaranteed, and all anonymous text;
    the state of each span in it, by the span's index."""
    members = set(scaffold_paths(layout.schema, scaffold))
    reach: dict[ModulePath, int] = {}  # how far an ancestor's text is guaranteed to a member
    for path in members:
        for depth in range(1, len(path)):
            last = max(reach.get(path[:depth], 0), layout.sections[path].first)
            reach[path[:depth]] = last
    found: dict[int, State] = {}
    here = _Pass()
    for span in layout.spans:
        owner = span.owner
        if owner == () or owner in members or span.index < reach.get(owner, 0):
            found[span.index] = here.state(span, packed, stands_in=True)
            here = here.after(found[span.index])
    return found


def joint_states(layout: Layout, packed: bool) -> Iterator[State]:
    """As the public code of the paper does: a span sees everything before it in the schema, of a
    union the member that `scaffold` names, else the first, whatever a prompt imports.

    The other members branch off where their union starts.
    """
    members = dict(_union_members(layout))
    passes: dict[ModulePath, _Pass] = {(): _Pass()}
    starts: dict[object, _Pass] = {}
    for span in layout.spans:
        branch: ModulePath = ()
        for path in (span.owner[:depth] for depth in range(1, len(span.owner) + 1)):
            if path in members:
                union, is_chosen = members[path]
                start = starts.setdefault(union, passes[branch])
                if not is_chosen:
                    branch = path
                    passes.setdefault(branch, start)
        state = passes[branch].state(span, packed, stands_in=True)
        passes[branch] = passes[branch].after(state)
        yield state


def _union_members(layout: Layout) -> Iterator[tuple[ModulePath, tuple[object, bool]]]:
    """Each member of a union: which union, and whether later text is encoded seeing it."""
    for path, section in layout.sections.items():
        for number, union in enumerate(unions_of(section.module)):
            chosen = union.scaffold or union.members[0].name
            for member in union.members:
                yield (*path, str(member.name)), ((path, number), member.name == chosen)
