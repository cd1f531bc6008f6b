"""The model families by name. A family is a module with the functions of `families/llama.py`."""

from __future__ import annotations

import math
from types import ModuleType

from minillm.config import ModelConfig
from minillm.families import falcon, llama, mpt

FAMILIES: dict[str, ModuleType] = {"llama": llama, "falcon": falcon, "mpt": mpt}

ALIASES = {"mistral": "llama", "RefinedWeb": "falcon", "RefinedWebModel": "falcon"}
"""What a checkpoint's configuration may call a family instead."""


def num_parameters(config: ModelConfig) -> int:
    """How many numbers a model's weights are."""
    table = FAMILIES[config.family].weights(config)
    return sum(math.prod(weight.shape) for weight in table.values())
