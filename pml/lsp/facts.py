"""What is known of a module, a parameter, a union, a prompt: lines of Markdown.

Positions and tokens are those of the model that the server was started with; without one, or
while the schema has errors, that is said instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pml.layout import Layout, name_of
from pml.lsp.scope import Scope
from pml.nodes import PromptParameter, PromptUnion, children_of, parameters_of
from pml.plan import PlanSpan, PromptPlan
from pml.planner import Planner

Measured = Planner | str
"""The schema laid out, or why it is not."""

_MOST = 12
"""So many names of a list are shown."""


def of_scope(scope: Scope, measured: Measured) -> Iterator[str]:
    """A module, or the whole schema."""
    if scope.path:
        yield f"**module** `{name_of(scope.path)}`{_membership(scope.union)}"
    else:
        yield f"**schema** `{scope.owner.name}`"
    yield measured if isinstance(measured, str) else _extent(scope, measured)
    if parameters := parameters_of(scope.owner):
        yield "parameters: " + ", ".join(map(_short, parameters.values()))
    if names := [*children_of(scope.owner)]:
        yield f"modules inside: {_listed(names)}"


def of_parameter(scope: Scope, parameter: PromptParameter, measured: Measured) -> Iterator[str]:
    yield f"**parameter** `{name_of(scope.path, parameter.name)}`"
    default = "no default: it needs an argument"
    if parameter.default is not None:
        default = f"default “{parameter.default}”"
    yield f"at most {_count(parameter.length, 'token')}; {default}"
    if isinstance(measured, str):
        yield measured
    elif measured.positions == "fixed":
        spans = measured.layout.sections[scope.path].spans
        start = next(span.start for span in spans if span.parameter == parameter.name)
        yield _positions(start, parameter.length)


def of_union(union: PromptUnion, scope: Scope, measured: Measured) -> Iterator[str]:
    takes = "exactly one" if union.required else "at most one"
    names = [member.name or "" for member in union.members]
    yield f"**union**: a prompt takes {takes} of {_listed(names, ' | ')}"
    if isinstance(measured, str):
        yield measured
        return
    sections = [measured.layout.sections[*scope.path, name] for name in names]
    lengths = [section.length for section in sections]
    if measured.positions == "fixed":
        yield f"{_positions(sections[0].start, max(lengths))}, as many as its longest member"
    each = [f"`{name}` {n:,}" for name, n in zip(names[:_MOST], lengths, strict=False)]
    yield f"positions of each: {', '.join(each)}"


def of_role(role: str, measured: Measured) -> str:
    if isinstance(measured, str):
        return measured
    markers = measured.tokenizer.roles.get(role)
    if markers is None:
        return "this model has no such turn"
    return (
        f"chat markers: {_count(len(markers.open), 'token')} before, {len(markers.close):,} after"
    )


def of_prompt(plan: PromptPlan) -> str:
    """What a whole prompt takes."""
    return (
        f"this prompt: {_count(plan.num_cached, 'token')} reused, {plan.num_fresh:,} computed; "
        f"the answer starts at position {plan.next_position:,}"
    )


def of_import(scope: Scope, plan: PromptPlan) -> str:
    """Where a module stands in a prompt, with what is imported inside of it."""
    name = name_of(scope.path)
    reused = [span for span in plan.reused if _is_in(span.path, name)]
    fresh = [span for span in plan.fresh if _is_in(span.path, name)]
    if not reused and not fresh:
        return ""
    start = min(span.start for span in (*reused, *fresh))
    stop = max(span.stop for span in (*reused, *fresh))
    counts = f"{_count(_tokens(reused), 'token')} reused, {_tokens(fresh):,} computed"
    return f"in this prompt: {_positions(start, stop - start)}; {counts}"


def _is_in(path: str, name: str) -> bool:
    return path == name or path.startswith((f"{name}/", f"{name}:"))


def _tokens(spans: Sequence[PlanSpan]) -> int:
    return sum(len(span.tokens) for span in spans)


def of_argument(text: str, parameter: PromptParameter, measured: Measured) -> str:
    if isinstance(measured, str):
        return ""
    tokens = len(measured.tokenizer.encode(text))
    return f"this argument: {tokens:,} of {_count(parameter.length, 'token')}"


def _membership(union: PromptUnion | None) -> str:
    if union is None:
        return ""
    kind = "required union" if union.required else "union"
    return (
        f", member of a {kind}: {_listed([member.name or '' for member in union.members], ' | ')}"
    )


def _listed(names: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return between.join(f"`{name}`" for name in names[:_MOST]) + more


def _short(parameter: PromptParameter) -> str:
    default = "" if parameter.default is None else f", default “{parameter.default}”"
    return f"`{parameter.name}` (at most {_count(parameter.length, 'token')}{default})"


def _extent(scope: Scope, planner: Planner) -> str:
    section = planner.layout.sections[scope.path]
    own = sum(len(span.tokens) for span in section.spans if span.parameter is None)
    tokens = _tokens_in(planner.layout, scope)
    held = _count(tokens, "token") + (f", {own:,} of them its own" if own != tokens else "")
    if planner.positions == "packed":
        return f"{held}; in the layout `packed` each prompt gives it its positions"
    length = section.length if scope.path else planner.layout.length
    return f"{_positions(section.start, length)}; {held}"


def _tokens_in(layout: Layout, scope: Scope) -> int:
    """The tokens of its text and of all modules inside, parameters not counted."""
    depth = len(scope.path)
    spans = (span for span in layout.spans if span.parameter is None)
    return sum(len(span.tokens) for span in spans if span.owner[:depth] == scope.path)


def _positions(start: int, length: int) -> str:
    if length < 2:
        return f"position {start:,}" if length else f"no position (it stands at {start:,})"
    return f"positions {start:,} to {start + length - 1:,} ({length:,})"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
