"""A second reading of the specification, sections 1 and 2: states, the reuse rule, and sight.

See `spec_documents.py`. `read` gives what law 17 compares with a plan: all tokens of the oracle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from spec_documents import Declared, DoesNotFit, Span, read_prompt, read_schema
from spec_positions import Standing, Stood, stand_fixed, stand_packed

from minillm.tokenizer import Tokenizer
from pml.nodes import Prompt, Schema
from pml.recompute import NOTHING, Recompute

Named = tuple[int, int, str]  # a token's position, id, and kind: "cached", "fresh" or "ghost"
Reading = Counter[tuple[Named, tuple[Named, ...]]]


@dataclass(frozen=True, eq=False)
class State:
    """What is stored for a span. Equal ones, of equal contexts, are one object: see `_States`."""

    ids: tuple[int, ...]
    context: frozenset[tuple[State, int]]


@dataclass(frozen=True)
class Node:
    """A state placed at a position."""

    state: State
    start: int

    def context(self) -> list[Node]:
        return [Node(state, self.start + d) for state, d in self.state.context]

    def closure(self) -> set[Node]:
        """The node itself and, for each state in its context, the closure of that."""
        found, new = {self}, [self]
        while new:
            more = set(new.pop().context()) - found
            found |= more
            new += more
        return found


@dataclass(frozen=True)
class Choice:
    """A state of a span, and the spans of its whole closure, of which it is the last."""

    state: State
    seen: list[Span]
    is_base: bool


def read(
    schema: Schema,
    prompt: Prompt,
    tokenizer: Tokenizer,
    layout: str,
    attention: str,
    short: int = 16,
    recompute: Recompute = NOTHING,
) -> tuple[Reading, int]:
    """The oracle's tokens, each with whom it sees, and the next position."""
    declared, tag = read_schema(schema, tokenizer), read_prompt(prompt, tokenizer)
    stand = stand_packed if layout == "packed" else stand_fixed
    standing = stand(declared, tag, tokenizer)
    states = _States(declared, layout == "packed", attention)
    fresh = list(standing.fresh)
    placed: dict[Node, Stood] = {}
    for stood in standing.spans:
        choice = states.chosen(stood, standing)
        if not _is_fresh(stood, choice, standing, attention, short):
            placed[Node(choice.state, stood.start)] = stood
        elif stood.span.slot is None:
            fresh += enumerate(stood.span.ids, stood.start)
    return _sight(placed, fresh, standing.spans, recompute, tokenizer.header_ids)


class _States:
    """All states of a schema, each once."""

    def __init__(self, declared: Declared, packed: bool, attention: str) -> None:
        self.declared, self.packed, self.attention = declared, packed, attention
        self.known: dict[object, State] = {}

    def chosen(self, stood: Stood, standing: Standing) -> Choice:
        """The reuse rule. A state may be used in a prompt if and only if the texts of its whole
        closure are selected by that prompt and precede it there. Of several usable states of a
        span the one whose closure has the most distinct tokens is taken (ties: declared first).

        `joint` breaks this, and only in its own base.
        """
        before = {other.span for other in standing.spans if other.start < stood.start}
        usable = [
            choice
            for choice in self.choices(stood.span)
            if before.issuperset(choice.seen[:-1]) or (choice.is_base and self.attention == "joint")
        ]
        richness = [
            sum(len(node.state.ids) for node in Node(choice.state, 0).closure())
            for choice in usable
        ]
        return usable[richness.index(max(richness))]

    def choices(self, span: Span) -> Iterator[Choice]:
        """The states of a span in the order they are declared in."""
        spans = self.declared.spans
        earlier = spans[: spans.index(span) + 1]
        seen = [other for other in earlier if other is span or self.base_sees(span, other)]
        yield Choice(self.encoded(seen, self.attention == "joint"), seen, True)
        for number in range(len(self.declared.scaffolds)):
            if self.in_scaffold(number, span):
                seen = [other for other in earlier if self.in_scaffold(number, other)]
                yield Choice(self.encoded(seen, True), seen, False)

    def base_sees(self, span: Span, other: Span) -> bool:
        """Whether `span` is encoded seeing `other`, which is declared before it."""
        if self.attention == "joint":
            # Everything before it in the schema, unions by their `scaffold=` member; *read as*:
            # of the unions that the span itself stands in, by the member it stands in.
            members = self.declared.seen_members | span.members
            return other.members.items() <= members.items()
        if self.attention == "isolated" and span.owner != ():
            return other.owner == span.owner  # the earlier spans of its own module
        # All that every prompt importing the module holds before it: BOS, anonymous text, its
        # ancestors' own text, with placeholders, its own. (Anonymous text: BOS and anonymous.)
        return span.owner[: len(other.owner)] == other.owner

    def in_scaffold(self, number: int, span: Span) -> bool:
        """One causal pass over the members, their guaranteed contexts and all anonymous text."""
        index = self.declared.spans.index(span)
        return span.owner == () or any(
            span.owner == member
            or (span.owner == member[: len(span.owner)] and index < self.declared.before[member])
            for member in self.declared.scaffolds[number]
        )

    def encoded(self, spans: list[Span], stands_in: bool) -> State:
        """The state of the last one in a causal pass over the spans: each sees those before it.

        In the fixed layout they stand where the schema has them; else a state is encoded with its
        context packed, from origin 0.
        """
        nodes: list[tuple[State, int]] = []
        cursor = 0
        for span in spans:
            start = cursor if self.packed else span.start
            ids = tuple(span.stand_in if stands_in and span.slot else span.ids)
            context = frozenset((state, position - start) for state, position in nodes)
            content = (ids, span.slot is not None, context)
            nodes.append((self.known.setdefault(content, State(ids, context)), start))
            cursor += len(ids)
        return nodes[-1][0]


def _is_fresh(stood: Stood, choice: Choice, standing: Standing, attention: str, short: int) -> bool:
    """Whether the schema's text is computed afresh: of `cache="false"` modules, or anonymous text
    of at most `short` tokens that follows modules it could not see. *Decided*: under `guaranteed`
    and `learned` only, and not where its state, one of a scaffold, has seen all modules before it;
    *read as*: nothing has seen both of two imports of one module."""
    span = stood.span
    if not span.cached:
        return True
    if span.owner != () or span.slot or len(span.ids) > short:
        return False
    if attention in ("isolated", "joint"):
        return False
    modules = [o.span for o in standing.spans if o.start < stood.start and o.span.owner != ()]
    return len(modules) > len(set(modules)) or not set(modules) <= set(choice.seen)


def _sight(
    placed: dict[Node, Stood],
    fresh: list[tuple[int, int]],
    standing: list[Stood],
    recompute: Recompute,
    header: tuple[int, ...],
) -> tuple[Reading, int]:
    """The tokens of all closures of the placed nodes, equal nodes taken once, and the fresh tokens,
    each with whom it sees."""
    ids = {p: id for n, s in placed.items() if not s.span.slot for p, id in _tokens(n)}
    if not ids and not fresh:
        raise DoesNotFit(0, 0)
    last = max(*ids, *(position for position, _ in fresh), -1)
    texts = sorted(position for position, id in ids.items() if id not in header)
    recomputed = _recomputed(texts, standing, recompute) | (ids.keys() & recompute.positions)
    # *Decided*: what stands last is computed, so that there are logits.
    recomputed |= {last} & ids.keys()

    def named(node: Node) -> list[Named]:
        # Neither placeholder nor recomputed, and placed.
        cached = node in placed and not placed[node].span.slot
        return [
            (position, id, "cached" if cached and position not in recomputed else "ghost")
            for position, id in _tokens(node)
        ]

    fresh = [*fresh, *((position, ids[position]) for position in recomputed)]
    computed: list[Named] = [(position, id, "fresh") for position, id in fresh]
    visible = [token for node in placed for token in named(node) if token[2] == "cached"]
    reading: Reading = Counter()
    for node in {node for one in placed for node in one.closure()}:
        # A token of a node sees itself, and the tokens of that node and of the nodes in its
        # context that stand at smaller positions, nothing else.
        seen = [token for other in (node, *node.context()) for token in named(other)]
        reading.update(_with_sight(named(node), seen))
    # A fresh token sees itself and, at smaller positions, the fresh and the visible.
    reading.update(_with_sight(computed, visible + computed))
    return reading, last + 1


def _tokens(node: Node) -> Iterator[tuple[int, int]]:
    """Positions and ids."""
    return enumerate(node.state.ids, node.start)


def _recomputed(texts: list[int], standing: list[Stood], recompute: Recompute) -> set[int]:
    """The positions of which the prompt asks by counting that they be computed afresh.

    *Read as*: what is counted are cached tokens. *Decided*: those of a header are not; `texts` are
    the positions of the others, ascending.
    """
    found: set[int] = set()
    own: dict[int, list[int]] = {}  # of each import
    for stood in standing:
        if stood.filled:  # the k tokens after each filled parameter
            behind = [position for position in texts if position > stood.start]
            found.update(behind[: recompute.after_parameters])
        if stood.span.owner != () and not stood.span.slot:
            positions = range(stood.start, stood.start + len(stood.span.ids))
            own.setdefault(id(stood.tag), []).extend(set(positions).intersection(texts))
    for tokens in own.values():  # the first k tokens of each module
        found.update(sorted(tokens)[: recompute.first])
    return found


def _with_sight(
    tokens: list[Named], seen: list[Named]
) -> Iterator[tuple[Named, tuple[Named, ...]]]:
    """Each token with itself and those of `seen` that stand at smaller positions."""
    seen = sorted(seen)
    for token in tokens:
        yield token, (*(other for other in seen if other[0] < token[0]), token)
