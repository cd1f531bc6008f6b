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
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Generic, ParamSpec

from pml.errors import Location, closest, did_you_mean, listed
from pml.nodes import Prompt, Schema
from pml.program.compiler import compile_function
from pml.program.pieces import Pieces, filled, nodes
from pml.program.source import PMLProgramError, parse_file
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
    """A prompt function: its `schema`, and the prompt that a call of it gives.

    It is compiled when it is first asked for one of these. A function that is only called by
    others, with constants, need not compile on its own.
    """

    def __init__(self, text: str, file: str, name: str) -> None:
        """The function `name` of a file with this text."""
        self._source = text, file, name

    @cached_property
    def _compiled(self) -> tuple[Schema, inspect.Signature, Pieces]:
        text, file_name, name = self._source
        file = parse_file(text, file_name)
        functions = file.functions()
        if name not in functions:
            message = f"no function {name!r} under @prompt_program of pml.program"
            expected = f"expected {listed(functions)}" if functions else "the file has none"
            at = Location(file_name, 1, 1)
            raise PMLProgramError(
                f"{message}; {expected}{did_you_mean(closest(name, functions))}", at
            )
        signature, pieces = compile_function(file, name)
        return Schema(name, children=nodes(pieces), at=file.at(functions[name])), signature, pieces

    @property
    def schema(self) -> Schema:
        """The same whatever the arguments. Raises PMLProgramError for what cannot be compiled."""
        return self._compiled[0]

    @property
    def pml(self) -> str:
        """The schema as PML, for `PromptCache.add_schema` or a file."""
        return write_schema(self.schema)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Prompt:
        """The prompt whose text, resolved against the schema, is what these arguments select.

        Raises TypeError as a call of the function would, PMLProgramError if a condition fails.
        """
        schema, signature, pieces = self._compiled
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments, children = filled(pieces, bound.arguments)
        return Prompt(schema.name, arguments, children, schema.at)

    def __repr__(self) -> str:
        return f"<prompt program {self._source[2]}>"


def prompt_program(function: Callable[P, None]) -> PromptProgram[P]:
    """The program of a function that stands at module level, where its source can be read."""
    name = function.__qualname__
    if not inspect.isfunction(function) or name != function.__name__:
        message = f"{name!r} is no function at module level; move it there"
        raise PMLProgramError(message)
    try:
        lines, _ = inspect.findsource(function)
    except OSError:
        message = f"the source of {name!r} is not to be had; put it into a file"
        raise PMLProgramError(message) from None
    file = inspect.getsourcefile(function) or function.__code__.co_filename
    program: PromptProgram[P] = PromptProgram("".join(lines), file, name)
    functools.update_wrapper(program, function)
    return program


def read_program(path: Path, name: str) -> PromptProgram[...]:
    """The prompt function of this name in a Python file, which is read and never run.

    Raises PMLProgramError if it is no text, OSError where there is no such file.
    """
    try:
        text = importlib.util.decode_source(path.read_bytes())
    except (SyntaxError, UnicodeDecodeError) as error:
        message = f"no text in the encoding that it claims: {error}"
        raise PMLProgramError(message, Location(str(path), 1, 1)) from None
    return PromptProgram(text, str(path), name)
