"""What the tags around a cursor mean: modules of a schema by the names of tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pml.lsp.scan import Tag
from pml.nodes import (
    ROLES,
    ModulePath,
    PromptModule,
    PromptParameter,
    PromptUnion,
    Schema,
    children_of,
    parameters_of,
    places_of,
)

Owner = Schema | PromptModule


@dataclass(frozen=True)
class Scope:
    """A schema's root or a module, and the union that it is a member of."""

    owner: Owner
    path: ModulePath
    union: PromptUnion | None = None

    def child(self, name: str) -> Scope | None:
        place = places_of(self.owner).get(name)
        return Scope(place.module, (*self.path, name), place.union) if place else None

    @property
    def children(self) -> list[Scope]:
        found = (self.child(name) for name in children_of(self.owner))
        return [scope for scope in found if scope is not None]

    def parameter(self, name: str) -> PromptParameter | None:
        return parameters_of(self.owner).get(name)


def scope_in_prompt(schema: Schema, tags: Sequence[Tag]) -> Scope | None:
    """What the innermost of a prompt's open tags imports; role tags and `<arg>` count for what
    they stand in. None where a tag imports what the schema lacks."""
    scope: Scope | None = Scope(schema, ())
    for tag in tags[1:]:
        if tag.name not in (*ROLES, "arg") and scope is not None:
            scope = scope.child(imported(tag))
    return scope


def scope_in_schema(schema: Schema, tags: Sequence[Tag]) -> Scope | None:
    """The owner that the innermost of a schema's open tags belongs to."""
    scope: Scope | None = Scope(schema, ())
    for tag in tags[1:]:
        if tag.name == "module" and "name" in tag.attributes and scope is not None:
            scope = scope.child(tag.attributes["name"])
    return scope


def imported(tag: Tag) -> str:
    """The name of the module that a prompt's tag imports."""
    return tag.attributes.get("module", "") if tag.name == "use" else tag.name


def is_tag_name(name: str) -> bool:
    """Whether a module of this name is imported by a tag of its own, and not by `<use>`."""
    return _TAG_NAME.fullmatch(name) is not None


_TAG_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
