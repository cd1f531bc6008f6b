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

from pml.context import State
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


def _next(last: State | None, span: Span, packed: bool, *, stands_in: bool = False) -> State:
    """The state of `span` as the one after `last` in a causal pass.

    With `stands_in` a parameter's words stand in its slot, if it has any.
    """
    tokens = span.stand_in if stands_in and span.stand_in else span.tokens
    path, is_placeholder = name_of(span.owner, span.parameter), span.parameter is not None
    after = last.stop if last else 0
    origin = after if packed else span.start
    return State.of(tokens, origin, path, last, is_placeholder=is_placeholder)


def base_states(layout: Layout, packed: bool, *, isolated: bool) -> Iterator[State]:
    """`guaranteed`: a span sees what every prompt that holds it holds before it: BOS and anonymous
    text, the text of its module's ancestors, its module's own; placeholders among them.
    `isolated` (the paper): its module's own only. Anonymous text sees anonymous text under both."""
    passes: dict[ModulePath, State] = {}
    for span in layout.spans:
        last = passes.get(span.owner)
        if last is None and not isolated:
            around = (span.owner[:depth] for depth in reversed(range(len(span.owner))))
            last = next((passes[path] for path in around if path in passes), None)
        state = passes[span.owner] = _next(last, span, packed)
        yield state


def scaffold_states(layout: Layout, scaffold: Scaffold, packed: bool) -> dict[int, State]:
    """One causal pass over a scaffold's members, what they are guaranteed, and all anonymous text;
    the state of each span in it, by the span's index."""
    members = set(scaffold_paths(layout.schema, scaffold))
    reach: dict[ModulePath, int] = {}  # how far an ancestor's text is guaranteed to a member
    for path in members:
        for depth in range(1, len(path)):
            first = layout.sections[path].first
            reach[path[:depth]] = max(reach.get(path[:depth], 0), first)
    found: dict[int, State] = {}
    last: State | None = None
    for span in layout.spans:
        owner = span.owner
        if owner == () or owner in members or span.index < reach.get(owner, 0):
            last = found[span.index] = _next(last, span, packed, stands_in=True)
    return found


def joint_states(layout: Layout, packed: bool) -> Iterator[State]:
    """As the public code of the paper does: a span sees everything before it in the schema, of a
    union the member that `scaffold` names, else the first, whatever a prompt imports.

    The other members branch off where their union starts.
    """
    members = dict(_union_members(layout))
    passes: dict[ModulePath, State | None] = {(): None}
    starts: dict[object, State | None] = {}
    for span in layout.spans:
        branch: ModulePath = ()
        for path in (span.owner[:depth] for depth in range(1, len(span.owner) + 1)):
            if path in members:
                union, is_chosen = members[path]
                start = starts.setdefault(union, passes[branch])
                if not is_chosen:
                    branch = path
                    passes.setdefault(branch, start)
        state = passes[branch] = _next(passes[branch], span, packed, stands_in=True)
        yield state


def _union_members(layout: Layout) -> Iterator[tuple[ModulePath, tuple[object, bool]]]:
    """Each member of a union: which union, and whether later text is encoded seeing it."""
    for path, section in layout.sections.items():
        for number, union in enumerate(unions_of(section.module)):
            chosen = union.scaffold or union.members[0].name
            for member in union.members:
                yield (*path, str(member.name)), ((path, number), member.name == chosen)
