"""Warnings: what is right by the rules and still costs quality, memory or time.

`lint` needs no weights: a schema, prompts that fit it, and for most rules a `Planner`, which is the
schema laid out under a model's tokenizer. `docs/lint.md` has the table of rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from minillm.tokenizer import Tokenizer
from pml.boundaries import boundary_warnings
from pml.diagnostics import Diagnostic
from pml.errors import Location, PMLError, Related, listed, quoted
from pml.layout import Layout, name_of
from pml.nodes import (
    Argument,
    ModulePath,
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
    children_of,
    parameters_of,
)
from pml.plan import PromptPlan
from pml.planner import Planner

ALIBI_GAP = 32
"""Positions left empty, from which on it is worth a word where distance costs weight."""
UNUSED_SLOT = 16
"""Positions of a parameter that no argument ever takes, if they are most of it."""
UNION_SPREAD = 64
"""Positions between a union's longest and shortest member, if the longest is 4 times as long."""


@dataclass(frozen=True)
class PromptSet:
    """What prompts use of a schema: the paths they import and the arguments they give."""

    prompts: Sequence[Prompt]
    imported: set[ModulePath] = field(default_factory=set)
    arguments: dict[tuple[ModulePath, str], list[Argument]] = field(default_factory=dict)
    texts: list[tuple[str, Location]] = field(default_factory=list)

    @classmethod
    def by(cls, prompts: Sequence[Prompt]) -> PromptSet:
        used = cls(prompts)
        for prompt in prompts:
            used._read(prompt, prompt.children, ())
        return used

    def _read(
        self, given: Prompt | PromptImport, children: Sequence[PromptNode], path: ModulePath
    ) -> None:
        self.imported.add(path)
        for name, argument in given.arguments.items():
            self.arguments.setdefault((path, name), []).append(argument)
            self.texts.append((argument.text, argument.at))
        self._walk(children, path)

    def _walk(self, children: Sequence[PromptNode], path: ModulePath) -> None:
        for node in children:
            if isinstance(node, PromptText):
                self.texts.append((node.text, node.at))
            elif isinstance(node, PromptRole):
                self._walk(node.children, path)
            else:
                self._read(node, node.children, (*path, node.name))


def lint(
    schema: Schema,
    prompts: Sequence[Prompt] = (),
    planner: Planner | None = None,
    alibi_slope: float | None = None,
    *,
    complete: bool = False,
) -> Iterator[Diagnostic]:
    """Every warning, and an error for text that the tokenizer cannot hold.

    `alibi_slope` is that of the model's middle head (`middle_slope`), None without ALiBi. With
    `complete` the prompts are all there are, and what none of them uses is told.
    """
    used = PromptSet.by(prompts)
    if complete:
        yield from _unused_modules(schema, used)
    if planner is None:
        return
    yield from lost_text(schema, used, planner.tokenizer)
    texts = {key: [one.text for one in given] for key, given in used.arguments.items()}
    yield from boundary_warnings(schema, planner.tokenizer, texts)
    if complete:
        yield from _loose_parameters(planner, used)
    if planner.positions == "fixed":
        yield from _uneven_unions(planner.layout)
        yield from _beyond_context(planner)
    if alibi_slope is not None:
        for prompt in prompts:
            yield from _alibi_gaps(planner, prompt, alibi_slope)


def middle_slope(max_bias: float = 8.0) -> float:
    """ALiBi's slopes are 2^(-max_bias·i/n) for i = 1..n heads: in their middle, 2^(-max_bias/2)."""
    return float(2 ** (-max_bias / 2))


def _warning(code: str, message: str, at: Location, *related: Related) -> Diagnostic:
    return Diagnostic(code, message, at, severity="warning", related=related)


def _unused_modules(schema: Schema, used: PromptSet) -> Iterator[Diagnostic]:
    def unused(owner: Schema | PromptModule, path: ModulePath) -> Iterator[Diagnostic]:
        for name, module in children_of(owner).items():
            inner = (*path, name)
            if inner in used.imported:
                yield from unused(module, inner)
            else:
                prompts = _counted(len(used.prompts), "prompt")
                message = f"module {quoted('/'.join(inner))} is imported by none of {prompts}"
                yield _warning("unused-module", message, module.at)

    yield from unused(schema, ())


def lost_text(schema: Schema, used: PromptSet, tokenizer: Tokenizer) -> Iterator[Diagnostic]:
    """An error for each text with characters that the model's vocabulary does not hold."""
    for text, at in (*_texts(schema.children), *used.texts):
        lost = tokenizer.lost(text)
        if lost:
            characters = ", ".join(f"U+{ord(sign):04X}" for sign in lost[:6])
            more = f" and {len(lost) - 6} more" if len(lost) > 6 else ""
            message = f"the model's vocabulary cannot hold {characters}{more} of this text"
            yield Diagnostic("lost-text", f"{message}; write it another way", at)


def _texts(children: Sequence[SchemaNode]) -> Iterator[tuple[str, Location]]:
    for node in children:
        if isinstance(node, PromptText):
            yield node.text, node.at
        elif isinstance(node, PromptParameter):
            yield node.default or "", node.at
        else:
            yield from _texts(node.members if isinstance(node, PromptUnion) else node.children)


def _loose_parameters(planner: Planner, used: PromptSet) -> Iterator[Diagnostic]:
    slots = (
        (path, parameter)
        for path, section in planner.layout.sections.items()
        for parameter in parameters_of(section.module).values()
    )
    for path, parameter in slots:
        given = used.arguments.get((path, parameter.name), ())
        texts = [argument.text for argument in given] + [parameter.default or ""]
        longest = max(len(planner.tokenizer.encode(text)) for text in texts)
        empty = parameter.length - longest
        if given and empty >= max(UNUSED_SLOT, parameter.length // 2):
            count = _counted(len(given), "argument")
            message = (
                f"parameter {quoted(parameter.name)} holds {parameter.length} tokens, the longest "
                f"of {count} has {longest}: {empty} positions stay empty; lower len"
            )
            yield _warning("parameter-length", message, parameter.at)


def _uneven_unions(layout: Layout) -> Iterator[Diagnostic]:
    """An empty member is a neutral choice, made on purpose."""
    for union, at in _unions(layout.schema.children, ()):
        members = {str(m.name): layout.sections[(*at, str(m.name))].length for m in union.members}
        sizes = {name: length for name, length in members.items() if length}
        if not sizes:
            continue
        long, short = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
        spread = sizes[long] - sizes[short]
        if spread >= UNION_SPREAD and sizes[long] >= 4 * sizes[short]:
            message = (
                f"member {quoted(long)} takes {sizes[long]:,} positions, {quoted(short)} "
                f"{sizes[short]:,}: a prompt with {quoted(short)} leaves {spread:,} empty; "
                'split the union, or take layout="packed"'
            )
            yield _warning("union-lengths", message, union.at)


def _unions(
    children: Sequence[SchemaNode], path: ModulePath
) -> Iterator[tuple[PromptUnion, ModulePath]]:
    for node in children:
        if isinstance(node, PromptUnion):
            yield node, path
            yield from _unions(node.members, path)
        elif isinstance(node, PromptModule):
            yield from _unions(node.children, (*path, node.name) if node.name else path)
        elif isinstance(node, PromptRole):
            yield from _unions(node.children, path)


def _beyond_context(planner: Planner) -> Iterator[Diagnostic]:
    length, most = planner.layout.length, planner.max_positions
    if length <= most:
        return
    beyond = [
        name_of(path)
        for path, section in planner.layout.sections.items()
        if path and section.start + section.length > most
    ]
    message = (
        f"the schema takes {length:,} positions, the model's context has {most:,}; "
        f"never usable whole: {listed(beyond, 'and') or 'its last text'}; "
        'put alternatives into a union, or take layout="packed"'
    )
    yield _warning("schema-context", message, planner.layout.schema.at)


def _alibi_gaps(planner: Planner, prompt: Prompt, slope: float) -> Iterator[Diagnostic]:
    try:
        plan = planner.plan(prompt)
    except PMLError:
        return  # told as an error
    advice = 'take layout="packed"'
    if planner.positions == "packed":
        advice = "lower the len of the parameter before it"
    for start, stop, path in _gaps(plan):
        if stop - start >= ALIBI_GAP:
            message = (
                f"positions {start:,} to {stop - 1:,} before {path} stay empty: with ALiBi that "
                f"distance takes {slope * (stop - start):.1f} off the scores of all before it in "
                f"the middle head; {advice}"
            )
            yield _warning("alibi-gap", message, prompt.at)


def _gaps(plan: PromptPlan) -> Iterator[tuple[int, int, str]]:
    """Positions [start, stop) that nothing visible takes, and what stands behind them."""
    stop = 0
    for span in sorted((*plan.reused, *plan.fresh), key=lambda span: span.start):
        if span.start > stop:
            yield stop, span.start, span.path
        stop = max(stop, span.stop)


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
