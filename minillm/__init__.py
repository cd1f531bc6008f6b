"""minillm: a small transformer runtime that shows its attention layers and takes positions.

It knows nothing of prompts and modules; `pml` is built on it. Importing it does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minillm.checkpoint import LoadedModel, load
    from minillm.config import ModelConfig
    from minillm.errors import LoadError
    from minillm.model import Transformer
    from minillm.sampling import Sampling

_HOMES = {
    "LoadError": "errors",
    "LoadedModel": "checkpoint",
    "ModelConfig": "config",
    "Sampling": "sampling",
    "Transformer": "model",
    "load": "checkpoint",
}

__all__ = [
    "LoadError",
    "LoadedModel",
    "ModelConfig",
    "Sampling",
    "Transformer",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'minillm' has no attribute {name!r}")
    return getattr(import_module(f"minillm.{_HOMES[name]}"), name)
