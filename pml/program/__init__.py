"""Prompt programs: a Python function becomes a schema, a call of it a prompt.

    from typing import Annotated
    from pml.program import Tokens, prompt_program, system, user

    @prompt_program
    def travel(place: str, duration: Annotated[str, Tokens(8)], frugal: bool = False) -> None:
        with system:
            "You plan journeys. "
            if frugal:
                "Mind the purse."
        with user:
            f"I have {duration}. "
            match place:
                case "city":
                    "Show me a city."
                case "coast" | "island":
                    "Take me to the sea."
                case _:
                    "Surprise me."

    travel.schema                               # the same whatever the arguments
    travel("coast", "a week", frugal=True)      # the `Prompt` that imports what Python would say

Every text is a statement of its own, and texts follow one another with nothing between them. `if`
is a module; `if … else` and `match` are a union; a call of another prompt function of the file is
a nested module; an argument with a length in tokens is a parameter; a loop over a constant is
unrolled.

The function is compiled from its source and its body is never run, neither to compile nor to
call: conditions are evaluated by a small interpreter (`expressions`) over the arguments. Running
the body would be no help, since Python drops a text that is a statement. And a body that never
runs has no effects: what a program says depends on its arguments only, any file can be compiled
without trusting it, and each error has the line and column of what is wrong.
"""

import functools
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, ParamSpec

from pml.errors import Location, did_you_mean, listed
from pml.nodes import Prompt, Schema
from pml.program.compiler import compile_function
from pml.program.pieces import filled, nodes
from pml.program.source import PMLProgramError, ProgramFile, parse_file
from pml.writer import write_schema

__all__ = [
    "PMLProgramError",
    "PromptProgram",
    "Tokens",
    "assistant",
    "prompt_program",
    "read_program",
    "system",
    "user",
]

P = ParamSpec("P")


@dataclass(frozen=True)
class Tokens:
    """How many tokens a slot has: `city: Annotated[str, Tokens(8)]`."""

    count: int


class _Role:
    """`with user:` in a prompt function. It is read, not entered: the function never runs."""

    def __enter__(self) -> None:
        raise RuntimeError("a role outside a prompt function; decorate it with @prompt_program")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


system = _Role()
user = _Role()
assistant = _Role()


class PromptProgram(Generic[P]):
    """A compiled prompt function: its `schema`, and the prompt that a call of it gives."""

    def __init__(self, file: ProgramFile, name: str) -> None:
        self.file = file
        self.signature, self._pieces = compile_function(file, name)
        at = file.at(file.functions()[name])
        self.schema = Schema(name, children=nodes(self._pieces), at=at)

    @property
    def pml(self) -> str:
        """The schema as PML, for `PromptCache.add_schema` or a file."""
        return write_schema(self.schema)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Prompt:
        """The prompt whose text, resolved against the schema, is what these arguments select.

        Raises TypeError as a call of the function would, PMLProgramError if a condition fails.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments, children = filled(self._pieces, bound.arguments)
        return Prompt(self.schema.name, arguments, children, self.schema.at)

    def __repr__(self) -> str:
        return f"<prompt program {self.schema.name}{self.signature}>"


def prompt_program(function: Callable[P, None]) -> PromptProgram[P]:
    """Compile a function of a module. Raises PMLProgramError for what cannot be compiled."""
    try:
        lines, _ = inspect.findsource(function)
    except OSError:
        message = f"the source of {function.__name__!r} is not to be had; put it into a file"
        raise PMLProgramError(message) from None
    name = inspect.getsourcefile(function) or "<source>"
    if function.__qualname__ != function.__name__:
        at = Location(name, function.__code__.co_firstlineno, 1)
        message = f"{function.__qualname__!r} stands inside another definition"
        raise PMLProgramError(f"{message}; move it to module level", at)
    program: PromptProgram[P] = PromptProgram(parse_file("".join(lines), name), function.__name__)
    functools.update_wrapper(program, function)
    return program


def read_program(path: Path, name: str) -> PromptProgram[...]:
    """The prompt function of this name in a Python file, which is read and never run.

    Raises PMLProgramError, and OSError where there is no such file.
    """
    try:
        text = importlib.util.decode_source(path.read_bytes())
    except (SyntaxError, UnicodeDecodeError) as error:
        message = f"no text in the encoding that it claims: {error}"
        raise PMLProgramError(message, Location(str(path), 1, 1)) from None
    file = parse_file(text, str(path))
    known = file.functions()
    if name not in known:
        message = f"no function {name!r} under @prompt_program of pml.program"
        expected = f"expected {listed(known)}" if known else "the file has none"
        at = Location(str(path), 1, 1)
        raise PMLProgramError(f"{message}; {expected}{did_you_mean(name, known)}", at)
    return PromptProgram(file, name)
