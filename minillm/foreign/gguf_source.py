"""A GGUF file as a source of weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minillm.config import ModelConfig
from minillm.errors import LoadError, shown
from minillm.foreign.gguf_tokenizer import tokenizer_of_gguf
from minillm.foreign.source import Source, family_named, read_config
from minillm.gguf import GGUFFile
from minillm.weights_file import TensorSpec, sha256_of

FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16}  # all other types become float32, exactly
PROVENANCE = ("general.name", "general.organization", "general.license")
Number = TypeVar("Number", bound=np.generic)


@contextmanager
def open_gguf(path: Path) -> Iterator[Source]:
    """Open a GGUF file of a known family; raises `LoadError`."""
    with GGUFFile.open(path) as file:
        family = family_named(file.metadata.get("general.architecture"))
        config = _config(family, file)
        skipped = tuple(name for name in file.tensors if name in family.GGUF_SKIPPED)
        for name in skipped:
            _refuse_other_frequencies(file, name)
        stems = family.gguf_names(config)
        theirs = {
            _hugging_face_name(n, stems, family.LAYERS): n for n in file.tensors if n not in skipped
        }

        def tensor(name: str) -> Tensor:
            weights = file.load(theirs[name])
            if _stem(theirs[name])[0] in family.GGUF_INTERLEAVED:
                weights = half_split(weights, config.head_dim)
            return torch.from_numpy(weights).to(specs[name].dtype)

        specs = {name: _spec(file, original) for name, original in theirs.items()}
        provenance = {key: str(file.metadata[key]) for key in PROVENANCE if key in file.metadata}
        types = Counter(info.type.name for info in file.tensors.values())
        # Fused queries, keys and values were put in our order when the file was made.
        weights = {n: replace(w, order=None) for n, w in family.weights(config).items()}
        yield Source(
            config=config,
            weights=weights,
            specs=specs,
            tensor=tensor,
            tokenizer=tokenizer_of_gguf(file.metadata),
            skipped=skipped,
            provenance={
                "format": "GGUF",
                "file": path.name,
                "sha256": sha256_of(path),
                "tensor types": ", ".join(f"{count} {name}" for name, count in types.items()),
                **provenance,
            },
        )


def half_split(weights: NDArray[Number], head_dim: int) -> NDArray[Number]:
    """Rows (h·D, …) with pairs (2i, 2i + 1) in each head, as rows with pairs (i, i + D/2).

    GGUF's Llama files are written for the rotation of the original Llama code; ours is the
    half-split one of Hugging Face. Only scores between different positions show the mistake.

    >>> half_split(np.array([0, 1, 2, 3, 10, 11, 12, 13]), head_dim=4)
    array([ 0,  2,  1,  3, 10, 12, 11, 13])
    """
    pairs = weights.reshape(-1, head_dim // 2, 2, *weights.shape[1:])  # (h, D/2, 2, …)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weights.shape)


def _config(family: ModuleType, file: GGUFFile) -> ModelConfig:
    if file.metadata.get("split.count", 1) not in (0, 1):
        raise LoadError("the file is one part of several: merge them with llama.cpp's gguf-split")
    if not hasattr(family, "read_gguf_config"):
        raise LoadError("this architecture is supported in a Hugging Face folder, not in GGUF")
    shapes = {name: info.shape for name, info in file.tensors.items()}
    return read_config(lambda fields: family.read_gguf_config(fields, shapes), file.metadata)


def _stem(name: str) -> tuple[str, str, str]:
    """(stem, what stands before it, its ending): `blk.0.attn_q.weight` has the stem `attn_q`."""
    body, _, ending = name.rpartition(".")
    before, _, stem = body.rpartition(".")
    return stem, before, ending


def _hugging_face_name(name: str, stems: Mapping[str, str], layers: str) -> str:
    stem, before, ending = _stem(name)
    if stem not in stems:
        raise LoadError(f"tensor {shown(name)} has no place in the model")
    theirs = f"{stems[stem]}.{ending}"
    return f"{layers}{before.removeprefix('blk.')}.{theirs}" if before else theirs


def _spec(file: GGUFFile, name: str) -> TensorSpec:
    info = file.tensors[name]
    return TensorSpec(FLOATS.get(info.type.name, torch.float32), info.shape)


def _refuse_other_frequencies(file: GGUFFile, name: str) -> None:
    """A table of RoPE factors may be left out only where it changes nothing."""
    if np.any(file.load(name) != 1):
        raise LoadError(f"tensor {shown(name)} scales RoPE's frequencies: not supported in GGUF")
