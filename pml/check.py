"""Whether a prompt fits its schema: imports, unions, arguments and roles, each with its place."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pml.errors import Location, PMLPromptError, Related, closest, did_you_mean, listed, quoted
from pml.nodes import (
    Argument,
    ModulePath,
    Place,
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptRole,
    Schema,
    SchemaRole,
    children_of,
    parameters_of,
    places_of,
    roles_of,
    unions_of,
)

Owner = Schema | PromptModule
Turn = PromptRole[PromptNode]


def check_prompt(prompt: Prompt, schema: Schema, *, repeat: bool = False) -> None:
    """Raise PMLPromptError, at its place in the prompt, for the first thing that does not fit.

    `repeat` lets a prompt import a module more than once, as the packed layout does.
    """
    for error in prompt_errors(prompt, schema, repeat=repeat):
        raise error


def prompt_errors(
    prompt: Prompt, schema: Schema, *, repeat: bool = False
) -> Iterator[PMLPromptError]:
    """All that does not fit, an import's own errors before those of what it holds."""
    if prompt.schema != schema.name:
        message = f"the prompt asks for schema {quoted(prompt.schema)}; this one is called"
        yield PMLPromptError(f"{message} {quoted(schema.name)}", prompt.at, code="other-schema")
    else:
        yield from _Checker(schema, repeat).scope(_Scope(schema, (), None, None), prompt)


@dataclass(frozen=True)
class _Scope:
    """An owner whose children are imported, and the role tags around it on both sides."""

    owner: Owner
    path: ModulePath
    schema_role: "SchemaRole | None"
    turn: Turn | None

    @property
    def named(self) -> str:
        return "the schema" if not self.path else f"module {quoted('/'.join(self.path))}"


class _Checker:
    def __init__(self, schema: Schema, repeat: bool) -> None:
        self.schema = schema
        self.repeat = repeat

    def scope(self, scope: _Scope, given: Prompt | PromptImport) -> Iterator[PMLPromptError]:
        yield from _arguments(self.schema, scope, given)
        imports: dict[str, PromptImport] = {}
        chosen: dict[int, PromptImport] = {}
        places = places_of(scope.owner)
        for node, turn in _walk(given.children, scope.turn):
            if isinstance(node, PromptRole):
                yield from _turn_errors(scope, node, turn)
            elif node.name not in places:
                yield _unknown(self.schema, scope, node)
            else:
                place = places[node.name]
                first = imports.setdefault(node.name, node)
                if first is not node and not self.repeat:
                    yield _repeated(first, node)
                rival = chosen.setdefault(id(place.union), node) if place.union else node
                if rival.name != node.name:
                    yield _rivals(rival, node)
                yield from self.imported(scope, place, node, turn)
        for union in unions_of(scope.owner):
            if union.required and id(union) not in chosen:
                names = listed(member.name or "" for member in union.members)
                message = f"{scope.named} requires a member of its union; import one of {names}"
                yield PMLPromptError(
                    message,
                    given.at,
                    code="union-required",
                    related=[Related(union.at, "the union")],
                )

    def imported(
        self, scope: _Scope, place: Place, node: PromptImport, turn: Turn | None
    ) -> Iterator[PMLPromptError]:
        role = place.role or scope.schema_role
        inner = role or next(iter(roles_of(place.module)), None)
        if turn is not None and inner is not None:
            where = "stands in" if role else "holds"
            message = f"module {quoted(node.name)} {where} <{inner.role}> of the schema"
            advice = f"a role holds no role; import it outside the <{turn.role}> of line"
            related = [Related(inner.at, f"<{inner.role}> of the schema")]
            yield PMLPromptError(
                f"{message}; {advice} {turn.at.line}", node.at, code="role-in-role", related=related
            )
        path = (*scope.path, node.name)
        yield from self.scope(_Scope(place.module, path, role, turn), node)


def _walk(
    children: tuple[PromptNode, ...], turn: Turn | None
) -> Iterator[tuple[PromptImport | Turn, Turn | None]]:
    """The imports and role tags of one import, each with the role tag around it."""
    for child in children:
        if isinstance(child, PromptRole):
            yield child, turn
            yield from _walk(child.children, child)
        elif isinstance(child, PromptImport):
            yield child, turn


def _turn_errors(scope: _Scope, node: Turn, turn: Turn | None) -> Iterator[PMLPromptError]:
    outer = turn or scope.schema_role
    if outer is not None:
        whose = "" if turn else " of the schema"
        message = f"<{node.role}> inside <{outer.role}>{whose}, line {outer.at.line}"
        message += ": a role holds no role; leave it out here"
        related = [Related(outer.at, f"the outer <{outer.role}>")]
        yield PMLPromptError(message, node.at, code="role-in-role", related=related)


def _repeated(first: PromptImport, second: PromptImport) -> PMLPromptError:
    message = f"a second import of {quoted(second.name)}, after that of line {first.at.line}"
    message += '; keep one, or take layout="packed"'
    related = [Related(first.at, "the first import")]
    return PMLPromptError(message, second.at, code="repeated-import", related=related)


def unknown_schema(name: str, known: Iterable[str], at: Location | None) -> PMLPromptError:
    """For a prompt that names none of the schemas that there are."""
    names = list(known)
    guess = closest(name, names)
    expected = listed(names) or "one that was given to add_schema; none was"
    message = f"no schema {name!r}; expected {expected}{did_you_mean(guess)}"
    return PMLPromptError(message, at, code="other-schema", suggestion=guess)


def _rivals(first: PromptImport, second: PromptImport) -> PMLPromptError:
    at, here = first.at, second.at.file  # in a chat, that of another turn
    where = f"line {at.line}" if at.file == here else str(at)
    both = f"{quoted(first.name)} of {where} and {quoted(second.name)}"
    advice = "of which a union admits one; keep one of them"
    related = [Related(first.at, f"the import of {quoted(first.name)}")]
    message = f"the prompt imports both {both}, {advice}"
    return PMLPromptError(message, second.at, code="union-rivals", related=related)


def _arguments(
    schema: Schema, scope: _Scope, given: Prompt | PromptImport
) -> Iterator[PMLPromptError]:
    parameters = parameters_of(scope.owner)
    for name, argument in given.arguments.items():
        if name not in parameters:
            yield _unknown_parameter(schema, scope, name, argument)
    for name, parameter in parameters.items():
        if parameter.default is None and name not in given.arguments:
            message = f"{scope.named} lacks its argument {quoted(name)}, which has no default"
            advice = f"write {_opening(given, name)}, at most {parameter.length} tokens long"
            yield PMLPromptError(
                f"{message}; {advice}",
                given.at,
                code="missing-argument",
                related=[Related(parameter.at, f"parameter {quoted(name)}")],
            )


def _opening(given: Prompt | PromptImport, argument: str) -> str:
    """How to give an argument, with `<arg>` where an attribute cannot have its name."""
    own = ("schema", "version", "space") if isinstance(given, Prompt) else ("module",)
    if argument in own or not _XML_NAME.fullmatch(argument):
        return f"<arg name={quoted(argument)}>…</arg> inside its tag"
    opening = "<prompt schema=…" if isinstance(given, Prompt) else _tag(given.name)[:-1]
    return f'{opening} {argument}="…">'


def _unknown_parameter(
    schema: Schema, scope: _Scope, name: str, argument: Argument
) -> PMLPromptError:
    message = f"{scope.named} has no parameter {quoted(name)}"
    parameters = parameters_of(scope.owner)
    elsewhere = [
        path
        for path, owner in _owners(schema)
        if name in parameters_of(owner) and path != scope.path
    ]
    guess = closest(name, parameters)
    if elsewhere and guess is None:
        places = listed("/".join(path) or schema.name for path in elsewhere)
        message += f"; it is one of {places}: give it there"
    else:
        expected = f"expected {listed(parameters)}" if parameters else "it has none"
        message += f"; {expected}{did_you_mean(guess)}"
    return PMLPromptError(message, argument.at, code="unknown-parameter", suggestion=guess)


def _unknown(schema: Schema, scope: _Scope, node: PromptImport) -> PMLPromptError:
    """An import of what the owner does not hold; tells where it stands if it does elsewhere."""
    holder = scope.named if scope.path else "the schema's root"
    message, guess = f"{holder} holds no module {quoted(node.name)}", None
    known = children_of(scope.owner)
    elsewhere = [path for path, _ in _owners(schema) if path and path[-1] == node.name]
    if elsewhere:
        tags = ["".join(map(_tag, path[:-1])) or "<prompt>" for path in elsewhere[:3]]
        places = listed("/".join(path) for path in elsewhere)
        message += f"; it stands at {places}: import it inside {' or '.join(tags)}"
    elif node.name in _SCHEMA_TAGS:
        message += '; a prompt imports a module by its name, <name/> or <use module="name"/>'
    else:
        everywhere = [*known, *(path[-1] for path, _ in _owners(schema) if path)]
        guess = closest(node.name, everywhere)
        expected = f"expected {listed(known)}" if known else "it holds none"
        message += f"; {expected}{did_you_mean(guess)}"
    return PMLPromptError(message, node.at, code="unknown-module", suggestion=guess)


def _owners(owner: Owner, path: ModulePath = ()) -> Iterator[tuple[ModulePath, Owner]]:
    """The owner and everything named below it, with its path."""
    yield path, owner
    for name, module in children_of(owner).items():
        yield from _owners(module, (*path, name))


def _tag(name: str) -> str:
    """The tag that imports a module of this name."""
    return f"<{name}>" if _XML_NAME.fullmatch(name) else f"<use module={quoted(name)}>"


_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")
_SCHEMA_TAGS = ("module", "union", "param", "parameter", "scaffold", "schema")
