"""A Hugging Face folder as a source of weights: `config.json` and one or several safetensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from minillm.errors import LoadError, shown
from minillm.foreign.hf_tokenizer import tokenizer_of_folder
from minillm.foreign.source import Source, family_named, read_config
from minillm.json_file import read_json
from minillm.weights_file import WeightsFile, open_weights, sha256_of

MAX_INDEX_BYTES = 32 << 20
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@contextmanager
def open_folder(folder: Path) -> Iterator[Source]:
    """Open a folder that holds a model of a known family; raises `LoadError`."""
    fields = read_json(folder / "config.json")
    if not isinstance(fields, dict):
        raise LoadError(f"{folder / 'config.json'}: not an object")
    if "quantization_config" in fields:
        raise LoadError(f"{folder}: quantised weights are not supported in a Hugging Face folder")
    family = family_named(fields.get("model_type"))
    config = read_config(family.read_config, fields)
    with ExitStack() as stack:
        files = [stack.enter_context(open_weights(folder / name)) for name in _names(folder)]
        homes = _homes(files)
        skipped = {name for name in homes if name.endswith(tuple(family.SKIPPED))}
        homes = {name: file for name, file in homes.items() if name not in skipped}
        yield Source(
            config=config,
            weights=family.weights(config),
            specs={name: file.spec(name) for name, file in homes.items()},
            tensor=lambda name: homes[name].tensor(name),
            tokenizer=tokenizer_of_folder(folder),
            skipped=tuple(sorted(skipped)),
            provenance={
                "format": "Hugging Face folder",
                "file": folder.resolve().name,
                "sha256 of config.json": sha256_of(folder / "config.json"),
            },
        )


def _names(folder: Path) -> list[str]:
    """The weight files: the single one, or those that the index lists."""
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if not (folder / INDEX).is_file():
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        hint = " (pickled weights are never read: save them as safetensors)" if pickled else ""
        raise LoadError(f"{folder}: neither {SINGLE} nor {INDEX}{hint}")
    index = read_json(folder / INDEX, MAX_INDEX_BYTES)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise LoadError(f"{folder / INDEX}: it has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name:
            raise LoadError(f"{folder / INDEX}: {shown(name)} is not a file of the folder")
    return names


def _homes(files: list[WeightsFile]) -> Mapping[str, WeightsFile]:
    """Which file holds a tensor. The files themselves are asked: an index may be out of date."""
    homes: dict[str, WeightsFile] = {}
    for file in files:
        for name in sorted(file.names):
            if name in homes:
                raise LoadError(f"tensor {shown(name)} is in two files")
            homes[name] = file
    return homes
