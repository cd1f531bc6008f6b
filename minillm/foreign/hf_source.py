"""A Hugging Face folder as a source of weights: `config.json` and one or several weight files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from minillm.errors import LoadError, shown
from minillm.foreign.hf_tokenizer import tokenizer_of_folder
from minillm.foreign.pickled import PICKLED, PICKLED_INDEX, unpickle
from minillm.foreign.source import Source, family_named, read_config
from minillm.json_file import read_json
from minillm.weights_file import WeightsFile, open_weights, sha256_of

MAX_INDEX_BYTES = 32 << 20
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@contextmanager
def open_folder(folder: Path, scratch: Path | None = None) -> Iterator[Source]:
    """Open a folder that holds a model of a known family; raises `LoadError`.

    Pickled weights are read only if there is a folder `scratch`, for the safetensors files that
    are made of them.
    """
    if not (folder / "config.json").is_file():
        raise LoadError(
            f"{folder}: no config.json in it: expected a Hugging Face folder, or a GGUF file"
        )
    fields = read_json(folder / "config.json")
    if not isinstance(fields, dict):
        raise LoadError(f"{folder / 'config.json'}: not an object")
    if {"format", "model"} <= fields.keys():
        raise LoadError(f"{folder}: is a converted checkpoint already")
    if "quantization_config" in fields:
        raise LoadError(f"{folder}: quantised weights are not supported in a Hugging Face folder")
    family = family_named(fields.get("model_type"))
    config = read_config(family.read_config, fields)
    paths, kind, skipped = _weight_files(folder), "safetensors", set[str]()
    if paths and paths[0].suffix == ".bin":
        kind = "pickled"
        paths, skipped = _unpickled(paths, scratch, family.SKIPPED)
    with ExitStack() as stack:
        homes = _homes([stack.enter_context(open_weights(path)) for path in paths])
        skipped |= {name for name in homes if name.endswith(tuple(family.SKIPPED))}
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
                "weights": kind,
                "file": folder.resolve().name,
                "sha256 of config.json": sha256_of(folder / "config.json"),
            },
        )


def _weight_files(folder: Path) -> list[Path]:
    """Those that the folder holds: a single one, or what an index lists; safetensors first."""
    for single, index in ((SINGLE, INDEX), (PICKLED, PICKLED_INDEX)):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return [folder / name for name in _listed(folder / index, Path(single).suffix)]
    raise LoadError(f"{folder}: neither {SINGLE} nor {INDEX}")


def _listed(path: Path, suffix: str) -> list[str]:
    index = read_json(path, MAX_INDEX_BYTES)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise LoadError(f"{path}: it has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or Path(name).suffix != suffix:
            raise LoadError(f"{path}: {shown(name)} is not a {suffix} file of the folder")
    return names


def _unpickled(
    paths: list[Path], scratch: Path | None, skipped: Sequence[str]
) -> tuple[list[Path], set[str]]:
    """Safetensors files made of pickled ones, and the names of what was left out of them."""
    if scratch is None:
        raise LoadError(
            f"{paths[0]}: pickled weights could run code: if you trust their maker, convert them "
            "with --allow-pickle, which reads them in a process of its own"
        )
    made, left_out = [], set[str]()
    for path in paths:
        target = scratch / f"{path.name}.safetensors"
        left_out.update(unpickle(path, target, skipped))
        made.append(target)
    return made, left_out


def _homes(files: list[WeightsFile]) -> Mapping[str, WeightsFile]:
    """Which file holds a tensor. The files themselves are asked: an index may be out of date."""
    homes: dict[str, WeightsFile] = {}
    for file in files:
        for name in sorted(file.names):
            if name in homes:
                raise LoadError(f"tensor {shown(name)} is in two files")
            homes[name] = file
    return homes
