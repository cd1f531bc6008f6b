"""The rows of the position ruler: what stands where, for a drawing as text or as SVG.

One row for each module, in the schema's order; the members of a union are stacked behind a
bracket. Each use of a position has a pattern of its own, so that no colour is needed. A prompt in
the layout `packed` has positions of its own: its rows come in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from pml.layout import Layout, name_of
from pml.placement import PROMPT
from pml.plan import PromptPlan
from pml.schema import (
    ModulePath,
    PromptModule,
    PromptParameter,
    PromptUnion,
    Schema,
    children_of,
    own_nodes,
)

LEFT_OUT, GAP, INSIDE, TEXT, SLOT, FRESH = PATTERNS = "╌░─█▒▓"
"""Each is painted over those before it, so that the rarest does not disappear."""


class Mark(NamedTuple):
    """Positions [start, stop) painted with one of `PATTERNS`."""

    start: int
    stop: int
    pattern: str


@dataclass(frozen=True)
class Row:
    """A line of the ruler: `tokens` are those that its marks show and no other row counts."""

    label: str
    start: int
    tokens: int | None
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Ruler:
    """What to draw over the positions [0, extent); a legend's entry is a pattern and its words."""

    title: str
    rows: tuple[Row, ...]
    extent: int
    legend: tuple[tuple[str, str], ...]


def schema_rows(layout: Layout) -> Ruler:
    """The positions of a whole schema, in the layout `fixed`."""
    marks: dict[str, list[Mark]] = {}
    for span in layout.spans:
        pattern = SLOT if span.parameter else TEXT if span.cached else FRESH
        mark = Mark(span.start, span.stop, pattern)
        marks.setdefault(name_of(span.owner, span.parameter), []).append(mark)
    legend = [(TEXT, "text"), (SLOT, "parameter"), (INSIDE, "modules inside"), (GAP, "gap")]
    if any(not span.cached for span in layout.spans):
        legend.append((FRESH, "never cached"))
    length = f"{layout.length:,} positions"
    rows = tuple(_Rows(layout, marks).all())
    return Ruler(f"schema {layout.schema.name}", rows, layout.length, (*legend, ("", length)))


def prompt_rows(layout: Layout, plan: PromptPlan) -> Ruler:
    """The positions of one prompt: what is reused, what is computed, and what stays empty."""
    marks: dict[str, list[Mark]] = {}
    for span in (*plan.reused, *plan.fresh):
        mark = Mark(span.start, span.stop, TEXT if span.kind == "cached" else FRESH)
        marks.setdefault(span.path, []).append(mark)
    own = marks.pop(PROMPT, [])
    whole = [Mark(0, plan.next_position, GAP), *own, *(m for ms in marks.values() for m in ms)]
    rows = [Row("the whole prompt", 0, plan.num_cached + plan.num_fresh, tuple(whole))]
    extent = plan.next_position
    if plan.layout == "packed":
        rows += _in_order(marks)
    else:
        rows += _Rows(layout, marks, selected=set(marks)).all()
        extent = max(layout.length, extent)
    if own:
        rows.append(Row("  new text", own[0].start, _length(own), tuple(own)))
    empty = plan.next_position - plan.num_cached - plan.num_fresh
    legend = [(TEXT, f"{plan.num_cached:,} reused"), (FRESH, f"{plan.num_fresh:,} computed")]
    legend.append((GAP, f"{empty:,} empty"))
    if plan.layout == "fixed":
        legend.append((LEFT_OUT, "left out"))
    legend.append(("", f"the answer starts at {plan.next_position:,}"))
    return Ruler(f"prompt of schema {plan.schema}", tuple(rows), extent, tuple(legend))


def _in_order(marks: dict[str, list[Mark]]) -> Iterator[Row]:
    """A row for each path, by the first position that it takes."""
    for path, own in sorted(marks.items(), key=lambda item: min(mark.start for mark in item[1])):
        start = min(mark.start for mark in own)
        yield Row(f"  {path}", start, _length(own), tuple(own))


class _Rows:
    """The rows of a schema, depth first; `marks` are by the path of a module or parameter.

    With `selected`, the paths that a prompt uses, siblings that it leaves out share one row.
    """

    def __init__(
        self, layout: Layout, marks: dict[str, list[Mark]], selected: set[str] | None = None
    ) -> None:
        self.layout, self.marks = layout, marks
        self.used = None if selected is None else {*_with_owners(selected)}
        self.extents = {
            region.path: (region.start, region.start + region.length)
            for region in layout.regions
            if region.kind == "module"
        }
        self.slots = {
            (span.owner, span.parameter): span.start for span in layout.spans if span.parameter
        }

    def all(self) -> Iterator[Row]:
        schema = self.layout.schema
        yield self.owner(schema, (), schema.name, 0, self.layout.length)
        yield from self.inside(schema, (), "  ")

    def inside(self, owner: Schema | PromptModule, path: ModulePath, indent: str) -> Iterator[Row]:
        for is_plain, nodes in groupby(own_nodes(owner), _is_named_module):
            if is_plain:
                modules = [node for node in nodes if isinstance(node, PromptModule)]
                yield from self.siblings(modules, path, indent, None)
                continue
            for node in nodes:
                if isinstance(node, PromptUnion):
                    yield from self.siblings(node.members, path, indent, self.end(node, path))
                elif isinstance(node, PromptParameter):
                    yield self.parameter(node, path, indent)

    def siblings(
        self, modules: Sequence[PromptModule], path: ModulePath, indent: str, reach: int | None
    ) -> Iterator[Row]:
        """Modules of one level; `reach` is where their union ends, if they stand in one."""
        groups = [
            (shown, [*group])
            for shown, some in groupby(modules, lambda module: self.shows(module, path))
            for group in ([[module] for module in some] if shown else [some])
        ]
        for index, (shown, group) in enumerate(groups):
            before, below = _bracket(index, len(groups)) if reach is not None else ("", "")
            if not shown:
                yield self.left_out(group, path, indent + before)
                continue
            inner = (*path, str(group[0].name))
            start, stop = self.extents[inner]
            label = f"{indent}{before}{group[0].name}"
            yield self.owner(group[0], inner, label, start, stop if reach is None else reach)
            yield from self.inside(group[0], inner, f"{indent}{below}  ")

    def owner(
        self, owner: Schema | PromptModule, path: ModulePath, label: str, start: int, stop: int
    ) -> Row:
        own = self.marks.get(name_of(path), [])
        slots = [
            mark
            for node in own_nodes(owner)
            if isinstance(node, PromptParameter)
            for mark in self.marks.get(name_of(path, node.name), [])
        ]
        inside = [
            Mark(*self.extents[*path, name], INSIDE)
            for name, module in children_of(owner).items()
            if self.shows(module, path)
        ]
        marks = (Mark(start, stop, GAP), *inside, *own, *slots)
        return Row(label, start, _length(own), marks)

    def parameter(self, node: PromptParameter, path: ModulePath, indent: str) -> Row:
        start = self.slots[path, node.name]
        own = self.marks.get(name_of(path, node.name), [])
        marks = (Mark(start, start + node.length, GAP), *own)
        return Row(f"{indent}:{node.name}", start, _length(own), marks)

    def left_out(self, group: Sequence[PromptModule], path: ModulePath, indent: str) -> Row:
        extents = [self.extents[*path, str(module.name)] for module in group]
        names = ", ".join(str(module.name) for module in group)
        count = f"{len(group)} others: " if len(group) > 1 else ""
        marks = tuple(Mark(start, stop, LEFT_OUT) for start, stop in extents)
        return Row(f"{indent}{count}{names}", extents[0][0], None, marks)

    def shows(self, module: PromptModule, path: ModulePath) -> bool:
        return self.used is None or name_of((*path, str(module.name))) in self.used

    def end(self, union: PromptUnion, path: ModulePath) -> int:
        return max(self.extents[*path, str(member.name)][1] for member in union.members)


def _with_owners(paths: Iterable[str]) -> Iterator[str]:
    """`/a/b:c` and what it stands in: `/a/b`, `/a`."""
    for path in paths:
        yield path
        yield from (path[:end] for end, sign in enumerate(path) if sign in "/:")


def _is_named_module(node: object) -> bool:
    return isinstance(node, PromptModule) and node.name is not None


def _bracket(index: int, count: int) -> tuple[str, str]:
    """What stands before a union's member, and before the rows inside of it."""
    if count == 1:
        return "╶ ", ""
    return ("╭ ", "│ ") if index == 0 else ("╰ ", "") if index == count - 1 else ("│ ", "│ ")


def _length(marks: Iterable[Mark]) -> int:
    return sum(mark.stop - mark.start for mark in marks)
