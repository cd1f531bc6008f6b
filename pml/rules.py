"""The rules of a schema that concern more than one tag: unique names, scaffolds that can be met."""

from collections.abc import Iterator

from pml.errors import Location, PMLSyntaxError, Related, closest, did_you_mean, listed, quoted
from pml.nodes import (
    ModulePath,
    PromptModule,
    PromptParameter,
    PromptUnion,
    Scaffold,
    Schema,
    children_of,
    own_nodes,
    unions_of,
)


def name_errors(owner: Schema | PromptModule) -> Iterator[PMLSyntaxError]:
    """Every name that two modules, or two parameters, of one owner share."""
    modules: dict[str, Location] = {}
    parameters: dict[str, Location] = {}
    for node in own_nodes(owner):
        if isinstance(node, PromptParameter):
            yield from _claim("parameter", node.name, node.at, parameters, owner)
        elif isinstance(node, PromptUnion):
            for member in node.members:
                yield from _claim("module", member.name or "", member.at, modules, owner)
        elif isinstance(node, PromptModule) and node.name is not None:
            yield from _claim("module", node.name, node.at, modules, owner)


def _claim(
    kind: str, name: str, at: Location, taken: dict[str, Location], owner: Schema | PromptModule
) -> Iterator[PMLSyntaxError]:
    if name and name in taken:
        where = "the schema" if isinstance(owner, Schema) else f"module {quoted(str(owner.name))}"
        first = f"the first is at line {taken[name].line}, column {taken[name].column}"
        advice = f"names are unique in {where}, in its unions and role tags too"
        message = f"a second {kind} {quoted(name)}; {first}; {advice}"
        related = [Related(taken[name], f"the first {kind} {quoted(name)}")]
        yield PMLSyntaxError(message, at, code="duplicate-name", related=related)
    taken.setdefault(name, at)


def scaffold_paths(schema: Schema, scaffold: Scaffold) -> tuple[ModulePath, ...]:
    """The modules that a scaffold names.

    A word is the name of a module of the root, or names from the root on joined by `/`
    (`travel/overseas/maldives`); a name that holds a `/` itself is taken whole where it fits.
    Raises PMLSyntaxError if a module is missing, named twice, or kept out by another.
    """
    paths: list[ModulePath] = []
    for word in scaffold.modules:
        path = _resolved(schema, word)
        if path is None:
            known = [name for name in children_of(schema) if name.split() == [name]]
            blanks = len(known) < len(children_of(schema))
            found = f"the scaffold names {quoted(word)}"
            expected = (
                f"expected modules of the schema, inner ones as 'outer/inner': {listed(known)}"
            )
            guess = closest(word, known)
            message = f"{found}; {expected}{did_you_mean(guess)}"
            message += "; a name with a blank cannot stand in a scaffold" if blanks else ""
            raise _scaffold_error(message, scaffold, guess)
        if path in paths:
            raise _scaffold_error(f"the scaffold names {quoted(word)} twice", scaffold)
        paths.append(path)
    _refuse_rivals(schema, scaffold, paths)
    return tuple(paths)


def _resolved(owner: Schema | PromptModule, word: str) -> ModulePath | None:
    children = children_of(owner)
    if word in children:
        return (word,)
    for index, character in enumerate(word):
        if character == "/" and word[:index] in children:
            rest = _resolved(children[word[:index]], word[index + 1 :])
            if rest is not None:
                return (word[:index], *rest)
    return None


def _refuse_rivals(schema: Schema, scaffold: Scaffold, paths: list[ModulePath]) -> None:
    """Refuse a scaffold that no prompt can meet: two of its modules in one union."""
    chosen: dict[int, ModulePath] = {}
    for path in paths:
        owner: Schema | PromptModule = schema
        for depth, name in enumerate(path, 1):
            for union in unions_of(owner):
                if any(member.name == name for member in union.members):
                    other = chosen.setdefault(id(union), path[:depth])
                    if other != path[:depth]:
                        both = listed(("/".join(other), "/".join(path[:depth])), "and")
                        message = f"the scaffold needs both {both}, of which a union admits one"
                        raise _scaffold_error(message, scaffold)
            owner = children_of(owner)[name]


def _scaffold_error(
    message: str, scaffold: Scaffold, suggestion: str | None = None
) -> PMLSyntaxError:
    return PMLSyntaxError(message, scaffold.at, code="scaffold", suggestion=suggestion)
