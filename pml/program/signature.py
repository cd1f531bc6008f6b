"""What a prompt function takes: its signature, and which of its arguments are slots in texts."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat

from pml.attributes import LONGEST_PARAMETER
from pml.nodes import PromptParameter
from pml.program.expressions import constant
from pml.program.source import ProgramFile

_Kind = inspect._ParameterKind


@dataclass(frozen=True)
class Declared:
    """`slots` has None for an argument that only conditions may use."""

    signature: inspect.Signature
    slots: Mapping[str, PromptParameter | None]


def declared(function: ast.FunctionDef, file: ProgramFile) -> Declared:
    """Raises PMLProgramError for `*args`, a default that is no literal, a length that is none."""
    if len(function.decorator_list) > 1:
        message = "a second decorator; expected @prompt_program alone: others could change the text"
        raise file.error(f"{message}; remove it", function.decorator_list[1])
    given = function.args
    for several, sign in ((given.vararg, "*"), (given.kwarg, "**")):
        if several is not None:
            advice = "a schema has a fixed number of parameters; name each argument"
            raise file.error(f"{sign}{several.arg} in a prompt function; {advice}", several)
    parameters, slots = [], {}
    for kind, argument, default in _arguments(given):
        value: object = inspect.Parameter.empty
        if default is not None:
            found = constant(default, file.constants)
            if found is None:
                message = f"the default of {argument.arg!r} is no literal; expected one"
                raise file.error(message, default)
            value = found[0]
        parameters.append(inspect.Parameter(argument.arg, kind, default=value))
        slots[argument.arg] = _slot(argument, value, file)
    return Declared(inspect.Signature(parameters), slots)


def bound(node: ast.Call, signature: inspect.Signature, file: ProgramFile) -> dict[str, object]:
    """The expression of each argument, or the value of its default."""
    for argument in (*node.args, *(word.value for word in node.keywords if not word.arg)):
        if isinstance(argument, ast.Starred) or argument not in node.args:
            raise file.error("* in a call; name each argument", argument)
    try:
        given = signature.bind(*node.args, **{str(k.arg): k.value for k in node.keywords})
    except TypeError as error:
        raise file.error(f"call of {ast.unparse(node.func)!r}: {error}", node) from None
    given.apply_defaults()
    return given.arguments


def _arguments(given: ast.arguments) -> Iterator[tuple[_Kind, ast.arg, ast.expr | None]]:
    positional = [*given.posonlyargs, *given.args]
    defaults = chain(repeat(None, len(positional) - len(given.defaults)), given.defaults)
    kinds = chain(
        repeat(_Kind.POSITIONAL_ONLY, len(given.posonlyargs)),
        repeat(_Kind.POSITIONAL_OR_KEYWORD, len(given.args)),
    )
    yield from zip(kinds, positional, defaults, strict=True)
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _Kind.KEYWORD_ONLY, argument, default


def _slot(argument: ast.arg, default: object, file: ProgramFile) -> PromptParameter | None:
    """The slot of `Annotated[str, Tokens(8)]`, or of a name that stands for it at module level."""
    annotation = argument.annotation
    if isinstance(annotation, ast.Name):
        annotation = file.assigned.get(annotation.id)
    if not (isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple)):
        return None
    for mark in annotation.slice.elts:
        if isinstance(mark, ast.Call) and file.pml_name(mark.func) == "Tokens":
            text = str(default) if isinstance(default, str | int | float) else None
            return PromptParameter(argument.arg, _length(mark, file), text, at=file.at(argument))
    return None


def _length(mark: ast.Call, file: ProgramFile) -> int:
    match mark:
        case ast.Call(args=[number], keywords=[]):
            found = constant(number, file.constants)
            if found and type(found[0]) is int and 1 <= found[0] <= LONGEST_PARAMETER:
                return found[0]
    expected = f"expected the number of tokens of the slot, 1 to {LONGEST_PARAMETER:,}"
    raise file.error(f"{ast.unparse(mark)}; {expected}, as in Tokens(8)", mark)
