"""A converted checkpoint: loading it, strictly and without two copies of the weights.

weights/NAME/config.json        the model's shape, the sha256 of the weights, provenance
             model.safetensors  every weight of `families/*.py`'s table, under our names; `header`
             tokenizer.json     or tokenizer.model
             roles.json         special tokens and chat markers
             golden.json        some of its logits (`golden.py`)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minillm.config import ModelConfig
from minillm.config_file import CheckpointConfig, load_config
from minillm.errors import IntegrityError, LoadError, shown
from minillm.families import FAMILIES, num_parameters
from minillm.families.base import Weight
from minillm.linear import INTEGERS, KINDS, FastLinear, Weights, can_pack
from minillm.model import Transformer
from minillm.special_tokens import MAX_HEADER, ROLES_FILE
from minillm.tokenizer import Tokenizer, load_tokenizer
from minillm.weights_file import WeightsFile, open_weights, sha256_of

WEIGHTS_FILE = "model.safetensors"
HEADER = "header"
"""The weight that a checkpoint with a trained header has besides."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run. `fingerprint` tells models apart by weights and shape, not by dtype,
    nor by how the weights lie: integers are other weights, packed ones are the same. `folder` is
    where it was loaded from."""

    name: str
    config: ModelConfig
    transformer: Transformer
    tokenizer: Tokenizer
    fingerprint: str
    folder: Path | None = None

    def __repr__(self) -> str:
        model = self.transformer
        runs = f"{model.dtype_name} on {model.device}"
        size = num_parameters(self.config)
        return f"<LoadedModel {self.name!r}: {self.config.family}, {size:,} parameters, {runs}>"


def load(
    folder: Path | str,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    weights: Weights = "packed",
) -> LoadedModel:
    """The converted checkpoint in `folder`, its weights in `dtype` on `device`.

    `weights` says how those of the linear layers lie (`linear.py`). What cannot be packed is
    `plain`; then weights stored in `dtype` already stay mapped from the file, and are shared by all
    processes that load it. Raises `LoadError`, in one line, where a file is missing or does not fit
    the others, `IntegrityError` where the weights have another sha256 than `config.json` says, and
    `ValueError` for weights that lie in no known way.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype is {dtype!r}, expected one of torch's, such as torch.float32")
    folder = Path(folder)
    stored, tokenizer = load_config(folder), load_tokenizer(folder)
    config = stored.model
    if tokenizer.vocab_size > config.vocab_size:
        sizes = f"{tokenizer.vocab_size} tokens, the model {config.vocab_size}"
        raise LoadError(f"{folder}: the tokenizer has {sizes}")
    transformer = load_transformer(folder, stored, dtype, device, weights)
    size = 0 if transformer.header is None else transformer.header.shape[1]
    if tokenizer.header_ids != header_ids(config, size):
        named = len(tokenizer.header_ids)
        raise LoadError(f"{folder}: {ROLES_FILE} names a header of {named} tokens, not of {size}")
    name, known_by = folder.resolve().name, fingerprint(stored, weights)
    return LoadedModel(name, config, transformer, tokenizer, known_by, folder)


def load_transformer(
    folder: Path,
    stored: CheckpointConfig,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    weights: Weights = "plain",
) -> Transformer:
    """The model in `folder`, each weight as it is stored or all in `dtype`; raises `LoadError`."""
    path, kind = folder / WEIGHTS_FILE, _kind(weights, dtype, device)
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise LoadError(f"device is {device}, but there is no CUDA device here; take 'cpu'")
    table = FAMILIES[stored.model.family].weights(stored.model)
    # No memory, and no random numbers, for weights that are replaced at once.
    with torch.device("meta"), _Uninitialised():
        transformer = Transformer(stored.model)
    with open_weights(path) as file:
        if HEADER in file.names:
            shape = file.spec(HEADER).shape
            check_header(shape, stored.model, path)
            transformer.header = nn.Parameter(torch.empty(shape, device="meta"))
            table = {**table, HEADER: Weight(shape, ())}
        if sha256_of(path) != stored.weights_sha256:
            raise IntegrityError(f"{path}: damaged: its sha256 is not the one in config.json")
        _check(file, table, path)
        if kind:
            try:
                transformer.replace_linears(kind, _reader(file, dtype))
            except ValueError as error:
                raise LoadError(f"{path}: {error}") from error
        names = transformer.state_dict().keys()
        left = {name: file.tensor(name, dtype).to(device) for name in names}
    transformer.load_state_dict(left, strict=True, assign=True)
    return transformer.eval().requires_grad_(False)


def _reader(file: WeightsFile, dtype: torch.dtype | None) -> Callable[[str], Tensor | None]:
    """Gives weights by name; a matrix only until the next one, which is read into its place: in
    memory that came and went, others made of them would leave holes."""
    shapes = {name: file.spec(name).shape for name in file.names}
    place = torch.empty(max(map(math.prod, shapes.values())), dtype=dtype)

    def read(name: str) -> Tensor | None:
        if name not in shapes:
            return None
        return file.read(name, dtype, place if len(shapes[name]) > 1 else None)

    return read


def _kind(
    weights: Weights, dtype: torch.dtype | None, device: torch.device | str
) -> type[FastLinear] | None:
    """What takes the place of `nn.Linear`; None where nothing does."""
    if weights not in ("plain", *KINDS):
        raise ValueError(f"weights are plain, {', '.join(KINDS)}, not {weights!r}")
    if weights in INTEGERS and torch.device(device).type != "cpu":
        raise LoadError(f"{weights} weights are for a CPU, this is {device}; take plain ones")
    if weights == "packed" and not (dtype and can_pack(dtype, device)):
        return None
    return KINDS.get(weights)


class _Uninitialised(TorchFunctionMode):
    """Layers get no first weights: drawing them on no device makes torch import for two seconds."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        is_initialiser = getattr(func, "__module__", None) == "torch.nn.init"
        return None if is_initialiser else func(*args, **(kwargs or {}))


def _check(file: WeightsFile, table: Mapping[str, Weight], path: Path) -> None:
    """The file must hold exactly the weights of the table, in their shapes."""
    if missing := table.keys() - file.names:
        raise LoadError(f"{path}: lacks {sorted(missing)[0]} ({len(missing)} missing)")
    if extra := file.names - table.keys():
        raise LoadError(f"{path}: {shown(sorted(extra)[0])} is no weight of the model")
    for name, weight in table.items():
        if (shape := file.spec(name).shape) != weight.shape:
            raise LoadError(f"{path}: {name} has shape {shape}, expected {weight.shape}")


def check_header(shape: tuple[int, ...], config: ModelConfig, path: Path) -> None:
    """Raises `LoadError`, which names `path`, where no header of the model has that shape
    (L, n, 2K·D)."""
    L, width = config.num_layers, 2 * config.num_kv_heads * config.head_dim
    n = shape[1] if len(shape) == 3 else 0
    if shape != (L, n, width) or not 0 < n <= MAX_HEADER:
        expected = f"({L}, 1 to {MAX_HEADER}, {width})"
        raise LoadError(f"{path}: the header has shape {shape}, expected {expected}")


def header_ids(config: ModelConfig, size: int) -> tuple[int, ...]:
    """The tokens of a header of that size."""
    return tuple(range(config.vocab_size, config.vocab_size + size))


def fingerprint(stored: CheckpointConfig, weights: Weights = "plain") -> str:
    """What tells models apart: their weights and their shape, not the dtype that they run in."""
    shape = json.dumps(dataclasses.asdict(stored.model), sort_keys=True)
    if weights in INTEGERS:
        shape += f"\n{weights}"
    return hashlib.sha256(f"{stored.weights_sha256}\n{shape}".encode()).hexdigest()
