"""`config.json` of a converted checkpoint: every field typed and bounded, nothing else allowed.

{"format": 1, "model": {…every field of ModelConfig…},
 "weights": {"sha256": "…"}, "source": {"format": "GGUF", "file": "…", …}}
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from minillm.config import FamilyConfig, ModelConfig
from minillm.errors import LoadError, shown
from minillm.families import FAMILIES
from minillm.json_file import checkpoint_file, fields, read_json

CONFIG_FILE = "config.json"
MAX_TEXT = 1024
MAX_LAYERS = 1024
MAX_INTEGER = 1 << 24  # no size of a model comes near it, and products of three still fit int64
MAX_REAL = 1e12
MAX_LIST = 4096


@dataclass(frozen=True)
class CheckpointConfig:
    """A model's shape, the sha256 of its `model.safetensors`, and where it came from."""

    model: ModelConfig
    weights_sha256: str
    source: Mapping[str, str]


def save_config(config: CheckpointConfig, folder: Path) -> None:
    """Write `config.json`."""
    content = {
        "format": 1,
        "model": dataclasses.asdict(config.model),
        "weights": {"sha256": config.weights_sha256},
        "source": dict(config.source),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def load_config(folder: Path) -> CheckpointConfig:
    """Read `config.json`; raises `LoadError` naming the first field that is not as it must be."""
    path = checkpoint_file(folder, CONFIG_FILE)
    try:
        return _read(read_json(path))
    except ValueError as error:
        raise LoadError(f"{path}: {error}") from error


def _read(content: object) -> CheckpointConfig:
    if isinstance(content, dict) and "model_type" in content:
        raise ValueError("of a Hugging Face folder: minillm convert makes a checkpoint of it")
    top = fields(content, {"format", "model", "weights", "source"}, "the file")
    if top["format"] != 1:
        raise ValueError(f"format is {shown(top['format'])}, expected 1")
    weights = fields(top["weights"], {"sha256"}, "weights")
    source = top["source"]
    if not isinstance(source, dict):
        raise ValueError(f"source is {shown(source)}, expected an object")
    family = top["model"].get("family") if isinstance(top["model"], dict) else None
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"family is {shown(family)}, known are {', '.join(FAMILIES)}")
    model = _dataclass(ModelConfig, top["model"], "model", family)
    schemes = FAMILIES[family].SCHEMES
    if model.position_scheme not in schemes:
        found = f"position_scheme is {model.position_scheme!r}"
        raise ValueError(f"{found}, expected one of {schemes} in the family {family}")
    return CheckpointConfig(
        model=model,
        weights_sha256=_text(weights["sha256"], "sha256"),
        source={_text(key, "source"): _text(value, key) for key, value in source.items()},
    )


def checked(config: ModelConfig) -> ModelConfig:
    """`config` itself; raises `ValueError` if `load_config` would not take it back."""
    return _dataclass(ModelConfig, dataclasses.asdict(config), "the configuration", config.family)


T = TypeVar("T")


def _dataclass(kind: type[T], content: object, what: str, family: str) -> T:
    """A frozen dataclass out of an object that has exactly its fields."""
    hints = get_type_hints(kind)
    found = fields(content, set(hints), what)
    return kind(**{name: _value(hint, found[name], name, family) for name, hint in hints.items()})


def _value(hint: Any, value: object, name: str, family: str) -> object:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (option for option in get_args(hint) if option is not types.NoneType)
        return None if value is None else _value(hint, value, name, family)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{name} is {shown(value)}, expected one of {get_args(hint)}")
        return value
    if get_origin(hint) is tuple:  # of any number of one kind
        if not isinstance(value, list | tuple) or len(value) > MAX_LIST:
            raise ValueError(f"{name} is {shown(value)}, expected a list of at most {MAX_LIST}")
        return tuple(_value(get_args(hint)[0], item, name, family) for item in value)
    if hint is FamilyConfig:
        return _dataclass(_family_config(family), value, name, family)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, name, family)
    check = {bool: _boolean, int: _integer, float: _real, str: _text}[hint]
    return check(value, name)


def _family_config(family: str) -> type[FamilyConfig]:
    """The one `FamilyConfig` of a family's module."""
    (kind,) = (
        item
        for item in vars(FAMILIES[family]).values()
        if isinstance(item, type) and issubclass(item, FamilyConfig) and item is not FamilyConfig
    )
    return kind


def _boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {shown(value)}, expected true or false")
    return value


def _integer(value: object, name: str) -> int:
    limit = MAX_LAYERS if name == "num_layers" else MAX_INTEGER
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise ValueError(f"{name} is {shown(value)}, expected a whole number up to {limit}")
    return value


def _real(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {shown(value)}, expected a number")
    if not (math.isfinite(value) and 0 <= value <= MAX_REAL):
        raise ValueError(f"{name} is {shown(value)}, expected a number from 0 to {MAX_REAL:g}")
    return float(value)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{name} is {shown(value)}, expected a text of at most {MAX_TEXT}")
    return value
