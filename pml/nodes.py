"""The two trees of the language: what a schema declares and what a prompt asks for.

    Schema ─┬─ PromptText                       Prompt ─┬─ PromptText
            ├─ PromptRole ── …                          ├─ PromptRole ── …
            ├─ PromptParameter                          └─ PromptImport ─┬─ Argument by name
            ├─ PromptModule ── …                                         └─ …
            └─ PromptUnion ── PromptModule ── …

All are frozen; two trees are equal if they mean the same, wherever they stood (`at` does not
count). A module without a name, and text outside a named module, is *anonymous*: it belongs to
the nearest named module around it, its *owner*, or to the schema's root. What is looked up by
name is looked up in its owner: names are unique there, looking through unions, role tags and
anonymous modules.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Generic, Literal, TypeAlias, TypeVar, get_args

from pml.errors import IN_CODE, Location, listed

ModulePath = tuple[str, ...]
Role = Literal["system", "user", "assistant"]
ROLES = get_args(Role)
VERSIONS = ("1",)
"""Those of the language that are read here. A document that names none is of version 1."""
LayoutName = Literal["fixed", "packed"]
ContextName = Literal["isolated", "guaranteed", "learned", "joint"]
SchemaNode: TypeAlias = (
    "PromptText | PromptRole[SchemaNode] | PromptParameter | PromptModule | PromptUnion"
)
PromptNode: TypeAlias = "PromptText | PromptRole[PromptNode] | PromptImport"
Node = TypeVar("Node", "SchemaNode", "PromptNode", covariant=True)


@dataclass(frozen=True)
class PromptText:
    """Text as the model gets it, white space already settled; never empty."""

    text: str
    at: Location = field(default=IN_CODE, compare=False, repr=False)


@dataclass(frozen=True)
class PromptRole(Generic[Node]):
    """A turn: what stands inside comes between the model's own chat markers of that role."""

    role: Role
    children: tuple[Node, ...] = ()
    at: Location = field(default=IN_CODE, compare=False, repr=False)


SchemaRole: TypeAlias = "PromptRole[SchemaNode]"


@dataclass(frozen=True)
class PromptParameter:
    """A slot of `length` tokens that an argument fills, or `default` if there is none."""

    name: str
    length: int
    default: str | None = None
    scaffold: str | None = None
    at: Location = field(default=IN_CODE, compare=False, repr=False)


class _Owner:
    """What belongs to a named module or to the root, looked up once and kept."""

    children: tuple[SchemaNode, ...]

    @cached_property
    def _own(self) -> tuple[tuple[SchemaNode, "SchemaRole | None"], ...]:
        return tuple(_walk(self.children, None))

    @cached_property
    def _places(self) -> Mapping[str, "Place"]:
        found: dict[str, Place] = {}
        for node, role in self._own:
            union = node if isinstance(node, PromptUnion) else None
            for module in union.members if union else (node,):
                if isinstance(module, PromptModule) and module.name is not None:
                    found[module.name] = Place(module, union, role)
        return MappingProxyType(found)

    @cached_property
    def _modules(self) -> Mapping[str, "PromptModule"]:
        return MappingProxyType({name: place.module for name, place in self._places.items()})

    @cached_property
    def _parameters(self) -> Mapping[str, PromptParameter]:
        found = {node.name: node for node, _ in self._own if isinstance(node, PromptParameter)}
        return MappingProxyType(found)

    @cached_property
    def _unions(self) -> "tuple[PromptUnion, ...]":
        return tuple(node for node, _ in self._own if isinstance(node, PromptUnion))

    @cached_property
    def _roles(self) -> "tuple[SchemaRole, ...]":
        return tuple(node for node, _ in self._own if isinstance(node, PromptRole))


@dataclass(frozen=True)
class PromptModule(_Owner):
    """A reusable piece of text; `name` is None for an anonymous one, which is always selected.

    With `cache=False` its text is computed fresh wherever it is imported.
    """

    name: str | None = None
    cache: bool = True
    children: tuple[SchemaNode, ...] = ()
    at: Location = field(default=IN_CODE, compare=False, repr=False)


@dataclass(frozen=True)
class PromptUnion:
    """Alternatives, of which a prompt imports at most one, or exactly one if `required`."""

    members: tuple[PromptModule, ...]
    scaffold: str | None = None
    required: bool = False
    at: Location = field(default=IN_CODE, compare=False, repr=False)


@dataclass(frozen=True)
class Place:
    """Where a named module stands in its owner: in which union and role tag, if in any."""

    module: PromptModule
    union: PromptUnion | None
    role: "SchemaRole | None"


@dataclass(frozen=True)
class Scaffold:
    """Modules that get a further state, encoded together; see `scaffold_paths`."""

    modules: tuple[str, ...]
    at: Location = field(default=IN_CODE, compare=False, repr=False)


@dataclass(frozen=True)
class Schema(_Owner):
    name: str
    layout: LayoutName | None = None
    attention: ContextName | None = None
    children: tuple[SchemaNode, ...] = ()
    scaffolds: tuple[Scaffold, ...] = ()
    at: Location = field(default=IN_CODE, compare=False, repr=False)

    def __repr__(self) -> str:
        return f"<Schema {self.name!r}: {listed(self._modules, 'and') or 'no modules'}>"

    def find(self, path: ModulePath) -> PromptModule:
        """The module at the path of names from the root; KeyError if there is none."""
        owner: Schema | PromptModule = self
        for name in path:
            owner = owner._modules[name]
        if not isinstance(owner, PromptModule):
            raise KeyError(path)
        return owner


@dataclass(frozen=True)
class Argument:
    """The text given for a parameter; it may be empty."""

    text: str
    at: Location = field(default=IN_CODE, compare=False, repr=False)


@dataclass(frozen=True)
class PromptImport:
    name: str
    arguments: Mapping[str, Argument] = field(default_factory=dict, hash=False)
    children: tuple[PromptNode, ...] = ()
    at: Location = field(default=IN_CODE, compare=False, repr=False)


@dataclass(frozen=True)
class Prompt:
    """`arguments` are those for parameters of the schema's root."""

    schema: str
    arguments: Mapping[str, Argument] = field(default_factory=dict, hash=False)
    children: tuple[PromptNode, ...] = ()
    at: Location = field(default=IN_CODE, compare=False, repr=False)

    def __repr__(self) -> str:
        imports = listed(_imported(self.children), "and") or "no modules"
        return f"<Prompt for {self.schema!r}: {imports}>"


def _imported(children: tuple[PromptNode, ...]) -> Iterator[str]:
    for child in children:
        if isinstance(child, PromptRole):
            yield from _imported(child.children)
        elif isinstance(child, PromptImport):
            yield child.name


def children_of(owner: Schema | PromptModule) -> Mapping[str, PromptModule]:
    """The named modules that a prompt imports inside the owner's tag, in the schema's order.

    Members of unions are among them, and what stands in role tags and anonymous modules.
    """
    return owner._modules


def parameters_of(owner: Schema | PromptModule) -> Mapping[str, PromptParameter]:
    """The parameters that are filled at the owner's own tag, in the schema's order."""
    return owner._parameters


def places_of(owner: Schema | PromptModule) -> Mapping[str, Place]:
    """The children of the owner, each with the union and the role tag that it stands in."""
    return owner._places


def unions_of(owner: Schema | PromptModule) -> tuple[PromptUnion, ...]:
    """The unions whose members are children of the owner, in the schema's order."""
    return owner._unions


def roles_of(owner: Schema | PromptModule) -> "tuple[SchemaRole, ...]":
    """The role tags that the owner itself holds, in the schema's order."""
    return owner._roles


def own_nodes(owner: Schema | PromptModule) -> Iterator[SchemaNode]:
    """All nodes that belong to the owner itself, in order: those in its role tags and anonymous
    modules after the tag they stand in, nothing of its unions' members or its named modules."""
    return (node for node, _ in _walk(owner.children, None))


def _walk(
    children: tuple[SchemaNode, ...], role: "SchemaRole | None"
) -> Iterator[tuple[SchemaNode, "SchemaRole | None"]]:
    for child in children:
        yield child, role
        if isinstance(child, PromptRole):
            yield from _walk(child.children, child)
        elif isinstance(child, PromptModule) and child.name is None:
            yield from _walk(child.children, role)
