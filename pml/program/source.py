"""A Python file as the compiler of prompt programs sees it: parsed, never imported, never run."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from pml.errors import Location, PMLError
from pml.program.expressions import FUNCTIONS, constant

_HOMES = ("pml", "pml.program")
_STARRED = ("Tokens", "assistant", "prompt_program", "system", "user")
Node = ast.stmt | ast.expr | ast.arg | ast.pattern


class PMLProgramError(PMLError):
    """A function that is no prompt program, or arguments that its conditions cannot take."""

    def __init__(self, message: str, at: Location | None = None) -> None:
        super().__init__(message, at, code="program")


@dataclass(frozen=True, eq=False)
class ProgramFile:
    """What a file says at module level.

    `imported` has the names that came from `pml`, with the full name of each; `assigned` those that
    one plain assignment gives a meaning; `constants` those of them that stand for literals;
    `defined` all names that anything gives a meaning.
    """

    name: str
    lines: tuple[str, ...] = field(repr=False)
    tree: ast.Module = field(repr=False)
    imported: Mapping[str, str]
    assigned: Mapping[str, ast.expr]
    constants: Mapping[str, object]
    defined: frozenset[str]

    def at(self, node: Node) -> Location:
        """Where the node starts. The parser counts columns in bytes, people in characters."""
        before = self.lines[node.lineno - 1].encode()[: node.col_offset]
        return Location(self.name, node.lineno, len(before.decode()) + 1)

    def error(self, message: str, node: Node) -> PMLProgramError:
        return PMLProgramError(message, self.at(node))

    def starts_block(self, node: ast.expr) -> bool:
        """Whether the node is a text whose opening quotes end their line."""
        line = self.lines[node.lineno - 1].encode()[node.col_offset :].rstrip()
        return line.lstrip(b"rRfFuU") in (b'"""', b"'" * 3)

    def pml_name(self, node: ast.expr) -> str | None:
        """What a name is called in `pml`, if it came from there: `user`, or `pml.program.user`."""
        if isinstance(node, ast.Attribute):
            module = self.imported.get(ast.unparse(node.value))
            return node.attr if module in _HOMES else None
        name = self.imported.get(node.id, "") if isinstance(node, ast.Name) else ""
        return name.rpartition(".")[2] or None

    def functions(self) -> dict[str, ast.FunctionDef]:
        """The prompt functions, by name."""
        found: dict[str, ast.FunctionDef] = {}
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef) and "prompt_program" in map(
                self.pml_name, node.decorator_list
            ):
                if node.name in found:
                    first = f"the first is in line {found[node.name].lineno}"
                    raise self.error(f"a second prompt function {node.name!r}; {first}", node)
                found[node.name] = node
        return found


@lru_cache(maxsize=64)
def parse_file(text: str, name: str) -> ProgramFile:
    """The file's text read; `name` is only the name that errors carry.

    Raises PMLProgramError if it is no Python.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        at = Location(name, error.lineno or 1, error.offset or 1)
        raise PMLProgramError(f"this is no Python: {error.msg}", at) from None
    except (RecursionError, MemoryError):
        raise PMLProgramError("expressions nested too deeply", Location(name, 1, 1)) from None
    assigned = dict(_assignments(tree))
    defined = frozenset(_defined(tree))
    constants = {name: FUNCTIONS[name] for name in FUNCTIONS if name not in defined}
    for name_of, node in assigned.items():
        if found := constant(node, constants):
            constants[name_of] = found[0]
    lines, imported = tuple(text.split("\n")), dict(_imports(tree))
    return ProgramFile(name, lines, tree, imported, assigned, constants, defined)


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in _HOMES:
            for alias in node.names:
                for name in _STARRED if alias.name == "*" else (alias.name,):
                    yield alias.asname or name, f"{node.module}.{name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in _HOMES:
                    yield alias.asname or alias.name, alias.name


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """`NAME = …` at module level, where nothing else in the file gives the name a meaning."""
    times = Counter(_defined(tree))
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if times[name] == 1:
                yield name, value


def _defined(tree: ast.Module) -> Iterator[str]:
    """Every name that something at module level, or a `global`, gives a meaning to."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
                yield from (
                    name
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Global)
                    for name in inner.names
                )
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name for alias in node.names)
            case ast.Name(ctx=ast.Store() | ast.Del()):
                yield node.id
            case _:
                pending += ast.iter_child_nodes(node)
