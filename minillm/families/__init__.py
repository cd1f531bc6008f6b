"""The model families by name. A family is a module with the functions of `families/llama.py`."""

from __future__ import annotations

from types import ModuleType

from minillm.families import falcon, llama, mpt

FAMILIES: dict[str, ModuleType] = {"llama": llama, "falcon": falcon, "mpt": mpt}

ALIASES = {"mistral": "llama", "RefinedWeb": "falcon", "RefinedWebModel": "falcon"}
"""What a checkpoint's configuration may call a family instead."""
