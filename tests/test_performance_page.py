"""The figures of docs/performance.md and its picture are those that `make bench` found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from speed.page import line, picture, shown, with_tables

ROOT = Path(__file__).parent.parent
FOUND = json.loads((ROOT / "benchmarks" / "results.json").read_text())


def test_the_tables_are_the_results() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    assert with_tables(page, FOUND) == page
    for name in FOUND:
        assert f"<!-- {name} -->\n| " in page, name


def test_the_picture_is_the_results() -> None:
    growth = FOUND["growth"]
    assert (ROOT / "docs/growth.svg").read_text() == picture(growth["rows"], growth["machine"])


def test_a_line_is_fitted() -> None:
    rows = [{"reused": n, "ms": 3 + 0.5 * n} for n in (1, 2, 4)]
    assert line(rows, "ms") == pytest.approx((0.5, 3, 1))


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (0.12345, "0.123"), (40, "40")])
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert shown(value) == text
