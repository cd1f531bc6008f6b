"""That docs/laws.md is true: every law is there, with a test that draws what the page says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "laws.md").read_text()
FILES = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "tests/laws").glob("*.py"))}
FUNCTIONS = {
    node.name: node
    for tree in FILES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
}
MACHINE = "test_law_11_the_store_is_a_naive_dictionary"
FEWER = {"test_law_01_a_chat_equals_the_oracle_at_every_turn"}
"""A chat of 20 turns is some 25 examples, so there are fewer of them."""

Row = tuple[int, str, set[str]]


def rows() -> list[Row]:
    found = re.findall(r"^\| (\d+) \|[^|]+\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE)
    return [(int(law), test, set(re.findall(r"`(\w+)`", drawn))) for law, test, drawn in found]


def body_of(test: str) -> ast.FunctionDef | ast.ClassDef:
    return FUNCTIONS["StoreMachine" if test == MACHINE else test]


def names_in(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def test_every_law_has_a_row_and_every_row_a_law() -> None:
    assert {law for law, *_ in rows()} == {*range(1, 16), 17}
    tests = {name for name in FUNCTIONS if name.startswith("test_law_")} | {MACHINE}
    assert {test for _, test, _ in rows()} == tests
    assert all(test.startswith(f"test_law_{law:02}_") for law, test, _ in rows())


def test_every_law_names_the_mistake_that_it_catches() -> None:
    for _, test, _ in rows():
        assert re.search(r"\bCatches\b", ast.get_docstring(body_of(test)) or ""), test


def test_the_laws_draw_what_the_page_says() -> None:
    for _, test, drawn in rows():
        node = body_of(test)
        names = names_in(node)
        for name in names & FUNCTIONS.keys():  # strategies of the same file
            names |= names_in(FUNCTIONS[name])
        assert drawn <= names, test


def test_no_law_has_fewer_examples() -> None:
    fewer = {
        name
        for name, node in FUNCTIONS.items()
        if name.startswith("test_law_")
        for decorator in node.decorator_list
        if "settings" in names_in(decorator)
        if "//" in ast.unparse(decorator)
    }
    assert fewer == FEWER
