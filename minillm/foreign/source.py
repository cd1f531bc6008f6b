"""A foreign checkpoint, whatever it is stored as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from minillm.config import ModelConfig
from minillm.config_file import checked
from minillm.errors import LoadError, shown
from minillm.families import ALIASES, FAMILIES
from minillm.families.base import Weight
from minillm.foreign.tokenizer import ForeignTokenizer
from minillm.weights_file import TensorSpec


@dataclass(frozen=True)
class Source:
    """An open checkpoint: its tensors are named as Hugging Face names them.

    `weights` says what ours are made of; `tensor` reads one of `specs`; `skipped` are the names,
    as the file spells them, of tensors that hold no weight; `provenance` is kept in `config.json`.
    """

    config: ModelConfig
    weights: Mapping[str, Weight]
    specs: Mapping[str, TensorSpec]
    tensor: Callable[[str], Tensor]
    tokenizer: ForeignTokenizer
    skipped: tuple[str, ...]
    provenance: Mapping[str, str]


def family_named(name: object) -> ModuleType:
    """The family file for an architecture's name; raises `LoadError`."""
    family = ALIASES.get(name, name) if isinstance(name, str) else None
    if family not in FAMILIES:
        known = ", ".join((*FAMILIES, *ALIASES))
        raise LoadError(f"architecture {shown(name)} is not supported, known are {known}")
    return FAMILIES[family]


def read_config(
    reader: Callable[[Mapping[str, object]], ModelConfig], fields: Mapping[str, object]
) -> ModelConfig:
    """What a family reads out of a foreign configuration; raises `LoadError`."""
    try:
        return checked(reader(fields))
    except KeyError as error:
        raise LoadError(f"the configuration lacks {error}") from error
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise LoadError(f"the configuration is not supported: {error}") from error
