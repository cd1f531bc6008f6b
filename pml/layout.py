"""A schema's text as spans of tokens, and where they stand in the layout `fixed`.

    schema    ├ text ┤├──── union ────┤├ text ┤
                      ├ member a ┤            a union's members share its start,
                      ├─── member b ──┤       and it is as long as the longest

Children take consecutive positions, a parameter takes its length, a nested module lies inside its
parent. What a prompt leaves out stays a gap. The layout `packed` takes the same spans and gives
them positions when a prompt is resolved (`pml/packed.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from minillm.special_tokens import RoleMarkers
from minillm.tokenizer import Tokenizer
from pml.errors import Location, PMLError, PMLSyntaxError
from pml.nodes import roles_of
from pml.schema import (
    ModulePath,
    PromptModule,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Schema,
    SchemaNode,
)


@dataclass(frozen=True)
class Span:
    """A maximal run of one owner's tokens, or the placeholders of one parameter.

    `owner` is the module it belongs to, () for the schema's root, whose text is anonymous. The
    tokens stand at consecutive positions from `start`. `cached` is False under `cache="false"`.
    `stand_in`: the words of a parameter's `scaffold` instead of placeholders, for the contexts
    that let them speak for the argument.
    """

    index: int
    owner: ModulePath
    start: int
    tokens: tuple[int, ...]
    parameter: str | None = None
    cached: bool = True
    stand_in: tuple[int, ...] | None = None

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Section:
    """What a named module, or the schema's root, holds itself: its spans in order.

    `first` is the number of spans that are declared before it; `start` and `length` are its
    positions in the layout `fixed`, which those of its children lie within.
    """

    module: Schema | PromptModule
    spans: tuple[Span, ...]
    first: int
    start: int
    length: int


@dataclass(frozen=True)
class Region:
    """What a stretch of positions is for: a line of the position ruler (`pml map`)."""

    kind: Literal["text", "module", "union", "parameter"]
    path: ModulePath
    name: str
    depth: int
    start: int
    length: int
    tokens: int


@dataclass(frozen=True)
class Layout:
    """A schema laid out: `spans` in the order they are declared in, `sections` by their path."""

    schema: Schema
    spans: tuple[Span, ...]
    sections: Mapping[ModulePath, Section]
    regions: tuple[Region, ...]
    length: int
    has_bos: bool

    def __repr__(self) -> str:
        return f"<Layout of {self.schema.name!r}: {self.length} positions>"


def name_of(owner: ModulePath, parameter: str | None = None) -> str:
    """How a place in a schema is written: `/`, `/travel/overseas`, `/travel:duration`.

    What a name holds of `/`, `:` and `%` is written as in a URL: no two places read alike.
    """
    names = [name.translate(_ESCAPES) for name in owner]
    return "/" + "/".join(names) + (f":{parameter.translate(_ESCAPES)}" if parameter else "")


_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", ":": "%3A"})


def lay_out(schema: Schema, tokenizer: Tokenizer) -> Layout:
    """Tokenise every text of `schema` alone and give each token its position.

    Raises `PMLError` for a role tag when the tokenizer has no markers for that role.
    """
    return _Builder(tokenizer).build(schema)


class _Builder:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.spans: list[Span] = []
        self.owned: dict[ModulePath, list[Span]] = {}
        self.sections: dict[ModulePath, Section] = {}
        self.regions: list[Region] = []
        self.position = 0
        self.run: list[int] = []
        self.cached = True  # what of the run is
        self.before: str | None = None  # the role of the last turn
        self.headed: set[ModulePath] = {()}  # whose text has begun, and had its header

    def build(self, schema: Schema) -> Layout:
        bos = self.tokenizer.bos_id
        if bos is not None:
            self.add([bos], (), cached=True, depth=0)
            self.close_run((), depth=0)
        self.children(schema.children, (), cached=True, depth=0)
        self.close_run((), depth=0)
        self.close_section(schema, (), 0, 0)
        return Layout(
            schema,
            tuple(self.spans),
            self.sections,
            tuple(self.regions),
            self.position,
            has_bos=bos is not None,
        )

    def close_section(
        self, module: Schema | PromptModule, path: ModulePath, first: int, start: int
    ) -> None:
        spans = tuple(self.owned.pop(path, ()))
        self.sections[path] = Section(module, spans, first, start, self.position - start)

    def children(
        self, children: Sequence[SchemaNode], owner: ModulePath, *, cached: bool, depth: int
    ) -> None:
        for child in children:
            if isinstance(child, PromptText):
                self.add(self.tokenizer.encode(child.text), owner, cached=cached, depth=depth)
            elif isinstance(child, PromptRole):
                markers = role_markers(self.tokenizer, child.role, child.at)
                self.add(markers.opening(self.before), owner, cached=cached, depth=depth)
                self.children(child.children, owner, cached=cached, depth=depth)
                self.add(markers.close, owner, cached=cached, depth=depth)
                self.before = child.role
            elif isinstance(child, PromptModule) and child.name is None:
                inside = cached and child.cache  # its text is its parent's otherwise
                self.children(child.children, owner, cached=inside, depth=depth)
            else:
                self.close_run(owner, depth=depth)
                if isinstance(child, PromptParameter):
                    self.parameter(child, owner, cached=cached, depth=depth)
                elif isinstance(child, PromptModule):
                    self.module(child, owner, cached=cached, depth=depth)
                else:
                    self.union(child, owner, cached=cached, depth=depth)

    def module(self, module: PromptModule, owner: ModulePath, *, cached: bool, depth: int) -> None:
        assert module.name is not None
        path, start, first = (*owner, module.name), self.position, len(self.spans)
        before = self.before  # and again behind it, as if it were left out
        place = len(self.regions)
        cached = cached and module.cache
        self.children(module.children, path, cached=cached, depth=depth + 1)
        self.close_run(path, depth=depth + 1)
        self.close_section(module, path, first, start)
        self.before = before
        tokens = sum(len(span.tokens) for span in self.spans[first:] if span.parameter is None)
        length = self.position - start
        region = Region("module", path, module.name, depth, start, length, tokens)
        self.regions.insert(place, region)

    def union(self, union: PromptUnion, owner: ModulePath, *, cached: bool, depth: int) -> None:
        start = stop = self.position
        place = len(self.regions)
        for member in union.members:
            self.position = start
            self.module(member, owner, cached=cached, depth=depth + 1)
            stop = max(stop, self.position)
        self.position = stop
        name = " | ".join(str(member.name) for member in union.members)
        region = Region("union", owner, name, depth, start, stop - start, 0)
        self.regions.insert(place, region)

    def parameter(
        self, parameter: PromptParameter, owner: ModulePath, *, cached: bool, depth: int
    ) -> None:
        words = {"default": parameter.default, "scaffold": parameter.scaffold}
        ids = {what: self.tokenizer.encode(text or "") for what, text in words.items()}
        for what, tokens in ids.items():
            if len(tokens) > parameter.length:
                raise PMLSyntaxError(
                    f"the {what} of parameter {parameter.name!r} has {len(tokens)} tokens, len is "
                    f"{parameter.length}; shorten it or raise len",
                    parameter.at,
                    code="default-length",
                )
        slot = [self.tokenizer.placeholder_id] * parameter.length
        self.run, self.cached = slot, cached
        stand_in = (*ids["scaffold"], *slot[len(ids["scaffold"]) :])
        self.close_run(
            owner,
            depth=depth,
            parameter=parameter.name,
            stand_in=stand_in if parameter.scaffold else None,
        )

    def add(self, tokens: Sequence[int], owner: ModulePath, *, cached: bool, depth: int) -> None:
        """Go on with the run, or end it where what comes is not cached as it is. A header stands
        before the first text of a module."""
        if not tokens:
            return
        if self.run and cached != self.cached:
            self.close_run(owner, depth=depth)
        if owner not in self.headed:
            self.headed.add(owner)
            self.run += self.tokenizer.header_ids
        self.run += tokens
        self.cached = cached

    def close_run(
        self,
        owner: ModulePath,
        *,
        depth: int,
        parameter: str | None = None,
        stand_in: tuple[int, ...] | None = None,
    ) -> None:
        """End the run of tokens of `owner`, if there is any: it becomes a span."""
        if not self.run:
            return
        length, tokens = len(self.run), tuple(self.run)
        span = Span(len(self.spans), owner, self.position, tokens, parameter, self.cached, stand_in)
        self.spans.append(span)
        self.owned.setdefault(owner, []).append(span)
        kind: Literal["text", "parameter"] = "parameter" if parameter else "text"
        region = Region(kind, owner, parameter or "text", depth, span.start, length, length)
        self.regions.append(region)
        self.position += length
        self.run = []


def role_markers(tokenizer: Tokenizer, role: str, at: Location) -> RoleMarkers:
    """The tokens around a turn of `role`; `PMLError` if the model knows no such role."""
    markers = tokenizer.roles.get(role)
    if markers is None:
        known = ", ".join(tokenizer.roles) or "none"
        raise PMLError(
            f"found <{role}>, but this model's chat markers are for: {known}; "
            "leave the tag out or use a chat model",
            at,
            code="unknown-role",
        )
    return markers


def last_role(owner: Schema | PromptModule) -> str | None:
    """The role of the last turn that the owner itself holds."""
    roles = roles_of(owner)
    return roles[-1].role if roles else None
