"""pml: Prompt Cache. Declare the reusable parts of a prompt, compute their states once.

Importing it does not import torch; `PromptCache` does when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minillm.answer import Delta
    from minillm.model import Cancelled
    from pml.batch import Batch
    from pml.chat import Chat
    from pml.completion import Completion, Timings, Usage
    from pml.engine import PromptCache
    from pml.errors import PMLError
    from pml.nodes import (
        Argument,
        PromptImport,
        PromptModule,
        PromptParameter,
        PromptRole,
        PromptText,
        PromptUnion,
        Scaffold,
    )
    from pml.program import PromptProgram, Tokens, prompt_program
    from pml.prompt import Prompt, parse_prompt
    from pml.schema import Schema, parse_schema
    from pml.service import Busy, Service
    from pml.writer import write_prompt, write_schema

_HOMES = {
    "Argument": "nodes",
    "Batch": "batch",
    "Busy": "service",
    "Cancelled": "service",
    "Chat": "chat",
    "Completion": "completion",
    "Delta": "engine",
    "PMLError": "errors",
    "Prompt": "prompt",
    "PromptCache": "engine",
    "PromptImport": "nodes",
    "PromptModule": "nodes",
    "PromptParameter": "nodes",
    "PromptProgram": "program",
    "PromptRole": "nodes",
    "PromptText": "nodes",
    "PromptUnion": "nodes",
    "Scaffold": "nodes",
    "Schema": "schema",
    "Service": "service",
    "Timings": "completion",
    "Tokens": "program",
    "Usage": "completion",
    "parse_prompt": "prompt",
    "parse_schema": "schema",
    "prompt_program": "program",
    "write_prompt": "writer",
    "write_schema": "writer",
}

__all__ = [
    "Argument",
    "Batch",
    "Busy",
    "Cancelled",
    "Chat",
    "Completion",
    "Delta",
    "PMLError",
    "Prompt",
    "PromptCache",
    "PromptImport",
    "PromptModule",
    "PromptParameter",
    "PromptProgram",
    "PromptRole",
    "PromptText",
    "PromptUnion",
    "Scaffold",
    "Schema",
    "Service",
    "Timings",
    "Tokens",
    "Usage",
    "parse_prompt",
    "parse_schema",
    "prompt_program",
    "write_prompt",
    "write_schema",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pml' has no attribute {name!r}")
    return getattr(import_module(f"pml.{_HOMES[name]}"), name)
