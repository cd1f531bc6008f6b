"""The model families by name. A family is a module with the functions of `families/llama.py`."""

from __future__ import annotations

from types import ModuleType

from minillm.families import llama

FAMILIES: dict[str, ModuleType] = {"llama": llama}
