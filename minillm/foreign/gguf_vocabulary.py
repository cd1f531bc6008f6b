"""The fields under `tokenizer.ggml.` that a vocabulary in GGUF is made of, each one checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from minillm.errors import LoadError, shown
from minillm.gguf_values import StringArray


def strings(metadata: Mapping[str, object], name: str) -> list[str]:
    found = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, StringArray):
        raise LoadError(f"tokenizer.ggml.{name} is no list of strings")
    return list(found)


def numbers(metadata: Mapping[str, object], name: str, count: int) -> NDArray[np.generic]:
    found = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, np.ndarray) or len(found) != count:
        raise LoadError(f"tokenizer.ggml.{name} is no list of one number for each token")
    return found


def token_id(metadata: Mapping[str, object], name: str) -> int | None:
    """The id of a special token, where the file names one."""
    id = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if id is not None and (isinstance(id, bool) or not isinstance(id, int)):
        raise LoadError(f"tokenizer.ggml.{name}_token_id is {shown(id)}, expected a token id")
    return id


def setting(metadata: Mapping[str, object], name: str, default: bool) -> bool:
    value = metadata.get(f"tokenizer.ggml.{name}", default)
    if not isinstance(value, bool):
        raise LoadError(f"tokenizer.ggml.{name} is {shown(value)}, expected true or false")
    return value
