"""A converted checkpoint: loading it, strictly and without two copies of the weights.

weights/NAME/config.json        the model's shape, the sha256 of the weights, provenance
             model.safetensors  every weight of `families/*.py`'s table, under our names
             tokenizer.json     or tokenizer.model
             roles.json         special tokens and chat markers
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from minillm.config import ModelConfig
from minillm.config_file import CheckpointConfig, load_config
from minillm.errors import LoadError, shown
from minillm.families import FAMILIES
from minillm.families.base import Weight
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer, load_tokenizer
from minillm.weights_file import WeightsFile, open_weights, sha256_of

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run. `fingerprint` tells models apart by weights and shape, not by dtype."""

    name: str
    config: ModelConfig
    transformer: Transformer
    tokenizer: Tokenizer
    fingerprint: str


def load(
    folder: Path | str, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> LoadedModel:
    """The converted checkpoint in `folder`, its weights in `dtype` on `device`.

    Raises `LoadError`, in one line, where a file is missing, damaged (the weights are compared
    with the sha256 in `config.json`) or does not fit the others. Weights stored in `dtype` already
    stay mapped from the file, and are shared by all processes that load it.
    """
    folder = Path(folder)
    stored, tokenizer = load_config(folder), load_tokenizer(folder)
    config = stored.model
    if tokenizer.vocab_size > config.vocab_size:
        sizes = f"{tokenizer.vocab_size} tokens, the model {config.vocab_size}"
        raise LoadError(f"{folder}: the tokenizer has {sizes}")
    path = folder / WEIGHTS_FILE
    table = FAMILIES[config.family].weights(config)
    with open_weights(path) as file:
        _check(file, table, path)
        if sha256_of(path) != stored.weights_sha256:
            raise LoadError(f"{path}: damaged: its sha256 is not the one in config.json")
        weights = {name: file.tensor(name).to(device, dtype) for name in table}
    with torch.device("meta"):  # no memory for numbers that are replaced at once
        transformer = Transformer(config)
    transformer.load_state_dict(weights, strict=True, assign=True)
    transformer.eval().requires_grad_(False)
    return LoadedModel(folder.resolve().name, config, transformer, tokenizer, _fingerprint(stored))


def _check(file: WeightsFile, table: Mapping[str, Weight], path: Path) -> None:
    """The file must hold exactly the weights of the table, in their shapes."""
    if missing := table.keys() - file.names:
        raise LoadError(f"{path}: lacks {sorted(missing)[0]} ({len(missing)} missing)")
    if extra := file.names - table.keys():
        raise LoadError(f"{path}: {shown(sorted(extra)[0])} is no weight of the model")
    for name, weight in table.items():
        if (shape := file.spec(name).shape) != weight.shape:
            raise LoadError(f"{path}: {name} has shape {shape}, expected {weight.shape}")


def _fingerprint(stored: CheckpointConfig) -> str:
    shape = json.dumps(dataclasses.asdict(stored.model), sort_keys=True)
    return hashlib.sha256(f"{stored.weights_sha256}\n{shape}".encode()).hexdigest()
