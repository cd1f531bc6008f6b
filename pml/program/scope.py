"""Where a statement stands while it is compiled: what names mean there, which names are taken."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from pml.errors import closest, did_you_mean, listed, quoted
from pml.nodes import PromptParameter
from pml.program.expressions import names_in, outside
from pml.program.pieces import Expression
from pml.program.source import Node, ProgramFile
from pml.schema_reader import RESERVED


@dataclass(frozen=True)
class Scope:
    """What names mean in one function.

    A *known* name (a constant of the file, the variable of a loop, a literal handed to a nested
    function) has its value here. An *open* name is an argument, whose value only a call will tell;
    it has its slot here, if it may stand in a text.
    """

    file: ProgramFile
    known: Mapping[str, object]
    open: Mapping[str, PromptParameter | None]

    @classmethod
    def of(
        cls,
        file: ProgramFile,
        open_names: Mapping[str, PromptParameter | None],
        known: Mapping[str, object],
    ) -> "Scope":
        """The scope of a function's body, whose arguments hide what the file calls the same."""
        constants = file.constants.items()
        outer = {name: value for name, value in constants if name not in open_names}
        return cls(file, {**outer, **known}, open_names)

    def expression(self, node: ast.expr, at: Node | None = None) -> Expression:
        """The expression with what is known of its names; `at` is where it stands, if not `node`.

        Raises PMLProgramError for what is no part of `expressions`, and for other names.
        """
        if found := outside(node, self.known):
            part, message = found
            raise self.file.error(message, at or part)
        for name in names_in(node):
            if name.id not in self.known and name.id not in self.open:
                raise self.file.error(self._unknown(name.id), at or name)
        return Expression(node, self.known, self.file.at(at or node))

    def _unknown(self, name: str) -> str:
        if name in self.file.defined:
            return f"{name!r} is no constant; expected a name that one assignment gives literals"
        expected = {*self.open, *self.known} - {"len", "range", "enumerate"}
        known = f"expected {listed(sorted(expected))}" if expected else "there is none here"
        message = f"{name!r} is no argument, loop variable or constant of the file"
        return f"{message}; {known}{did_you_mean(closest(name, expected))}"

    def unpacked(self, target: ast.expr, value: object) -> dict[str, object]:
        """The variables of a loop for one of its values."""
        match target:
            case ast.Name(id=name):
                if name in self.open or name in self.known:
                    message = f"the loop variable {name!r} hides another {name!r}"
                    raise self.file.error(f"{message}; choose another name", target)
                return {name: value}
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if isinstance(value, tuple | list):
                if len(parts) == len(value):
                    found: dict[str, object] = {}
                    for part, item in zip(parts, value, strict=True):
                        found |= self.unpacked(part, item)
                    return found
        message = f"{quoted(repr(value))} does not go into {ast.unparse(target)!r}"
        raise self.file.error(f"{message}; expected as many names as items", target)

    def is_known(self, node: ast.expr) -> bool:
        return all(name.id in self.known for name in names_in(node))


@dataclass(frozen=True)
class Owner:
    """The names that modules and parameters of the root, or of one named module, have."""

    modules: set[str] = field(default_factory=lambda: set(RESERVED))
    parameters: set[str] = field(default_factory=set)


def claim(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken, and taken from now on."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    taken.add(free)
    return free
