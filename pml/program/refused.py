"""What a prompt function cannot hold, and what to do about it."""

import ast

from pml.errors import closest, did_you_mean, listed, quoted
from pml.program.source import PMLProgramError, ProgramFile

_EXPECTED = "expected a text, if, match, for, with a role, or a call of a prompt function"
_CONSTANT = ("an assignment", "move a constant to module level, hand other values in")
_INSIDE = ("a definition", "move it to module level")
_LEAVING = "every statement is read; use if and else to leave some out"
_REASONS: dict[type[ast.AST], tuple[str, str]] = {
    ast.While: ("while", "a schema has an end: loop with for over a constant"),
    ast.Try: ("try", "nothing in a prompt function can fail"),
    ast.TryStar: ("try", "nothing in a prompt function can fail"),
    ast.Return: ("return", _LEAVING),
    ast.Break: ("break", _LEAVING),
    ast.Continue: ("continue", _LEAVING),
    ast.Assign: _CONSTANT,
    ast.AnnAssign: _CONSTANT,
    ast.AugAssign: _CONSTANT,
    ast.FunctionDef: _INSIDE,
    ast.AsyncFunctionDef: _INSIDE,
    ast.ClassDef: _INSIDE,
    ast.Import: ("an import", "move it to module level"),
    ast.ImportFrom: ("an import", "move it to module level"),
}


def refused(node: ast.stmt, file: ProgramFile) -> PMLProgramError:
    """The error for a statement that is none of those that compile."""
    if isinstance(node, ast.Expr):
        advice = 'a value goes into a text, f"{name}"'
        found = f"{quoted(ast.unparse(node))} as a statement"
        return file.error(f"{found}; {_EXPECTED}; {advice}", node)
    found, advice = _REASONS.get(type(node), (f"{type(node).__name__.lower()}", "leave it out"))
    return file.error(f"{found} in a prompt function; {_EXPECTED}; {advice}", node)


def unknown_function(call: ast.Call, known: list[str], file: ProgramFile) -> PMLProgramError:
    name = ast.unparse(call.func)
    message = f"call of {name!r}, which is no function of this file under @prompt_program"
    expected = f"expected {listed(known)}" if known else "there is no other"
    return file.error(f"{message}; {expected}{did_you_mean(closest(name, known))}", call)
