"""What Python itself makes of a prompt function: the very same code, with its texts collected.

Each text that is a statement becomes a call that keeps it; nothing else of the function changes,
so that Python decides every branch, pattern, loop, f-string and call. It shares nothing with
`pml.program`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any


class PlainPython:
    """The functions of a file, each of which gives the texts that it says and its turns.

    A turn's markers are the pairs ("open", role) and ("close", role) among the texts.
    """

    def __init__(self, path: Path) -> None:
        self.said: list[str | tuple[str, str]] = []
        source = path.read_text()
        tree = ast.parse(source)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                node.decorator_list = []
                _Collecting(source).visit(node)
        self.names: dict[str, Any] = {}
        exec(compile(ast.fix_missing_locations(tree), str(path), "exec"), self.names)
        self.names |= {"_say": self.said.append}
        # Roles stand for themselves, and `program.user` for `user`.
        self.names |= {role: self.turn(role) for role in ("system", "user", "assistant")}
        self.names["program"] = self
        self.assistant = self.names["assistant"]

    def turn(self, role: str) -> Any:
        plain = self

        class Turn:
            def __enter__(self) -> None:
                plain.said.append(("open", role))

            def __exit__(self, *_: object) -> None:
                plain.said.append(("close", role))

        return Turn()

    def __call__(self, name: str, arguments: dict[str, Any]) -> list[str | tuple[str, str]]:
        self.said.clear()
        function = self.names[name]
        positional = function.__code__.co_posonlyargcount
        values = list(arguments.values())[:positional]
        function(*values, **dict(list(arguments.items())[positional:]))
        return list(self.said)


class _Collecting(ast.NodeTransformer):
    def __init__(self, source: str) -> None:
        self.lines = source.split("\n")

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.JoinedStr):
            text: ast.expr = node.value
        elif isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            text = node.value
        else:
            return node
        if self.lines[node.lineno - 1].strip() in ('"""', "'''", 'f"""', 'r"""'):
            for number, part in enumerate(getattr(text, "values", [text])):
                if isinstance(part, ast.Constant):
                    part.value = part.value.replace("\n" + " " * node.col_offset, "\n")
                    part.value = part.value[1:] if number == 0 else part.value
        return ast.Expr(ast.Call(ast.Name("_say", ast.Load()), [text], []))
