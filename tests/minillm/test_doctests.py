"""The examples in the runtime's docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import minillm


def test_examples_in_docstrings() -> None:
    attempted = 0
    for module in pkgutil.walk_packages(minillm.__path__, "minillm."):
        results = doctest.testmod(importlib.import_module(module.name))
        assert not results.failed, module.name
        attempted += results.attempted
    assert attempted > 10
