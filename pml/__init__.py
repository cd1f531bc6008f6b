"""pml: Prompt Cache. Declare the reusable parts of a prompt, compute their states once.

Importing it does not import torch; `PromptCache` does when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minillm.answer import Delta
    from pml.completion import Completion, Timings, Usage
    from pml.engine import PromptCache
    from pml.errors import PMLError
    from pml.prompt import Prompt, parse_prompt
    from pml.schema import Schema, parse_schema

_HOMES = {
    "Completion": "completion",
    "Delta": "engine",
    "PMLError": "errors",
    "Prompt": "prompt",
    "PromptCache": "engine",
    "Schema": "schema",
    "Timings": "completion",
    "Usage": "completion",
    "parse_prompt": "prompt",
    "parse_schema": "schema",
}

__all__ = [
    "Completion",
    "Delta",
    "PMLError",
    "Prompt",
    "PromptCache",
    "Schema",
    "Timings",
    "Usage",
    "parse_prompt",
    "parse_schema",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pml' has no attribute {name!r}")
    return getattr(import_module(f"pml.{_HOMES[name]}"), name)
