"""Reading and writing `model.safetensors` without ever holding all of it twice.

The format: 8 bytes of header length (little-endian), a JSON header of
{name: {dtype, shape, data_offsets}}, then the tensors' bytes without gaps.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from minillm.errors import LoadError, shown

# The dtypes that weights may have, as safetensors spells them.
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
MAX_HEADER_BYTES = 32 << 20
CHUNK_BYTES = 16 << 20  # are converted at once
ALIGNMENT = 64  # of the first tensor: mapped weights are read by vector instructions as they lie


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor before its numbers are."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class WeightsFile:
    """An open safetensors file."""

    def __init__(self, path: Path, handle: Any) -> None:
        self._path = path
        self._handle = handle
        self.names = frozenset(handle.keys())

    def spec(self, name: str) -> TensorSpec:
        part = self._handle.get_slice(name)
        dtype = part.get_dtype()
        if dtype not in DTYPES:
            known = ", ".join(DTYPES)
            raise LoadError(f"{self._path}: tensor {shown(name)} is {dtype}, expected {known}")
        return TensorSpec(DTYPES[dtype], tuple(part.get_shape()))

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor as it is stored, mapped from the file and not copied; or else in `dtype`."""
        if dtype is not None and dtype != self.spec(name).dtype:
            return self.read(name, dtype)
        tensor: Tensor = self._handle.get_tensor(name)
        return tensor

    def read(
        self, name: str, dtype: torch.dtype | None = None, place: Tensor | None = None
    ) -> Tensor:
        """A tensor in `dtype` or as it is stored: in memory of its own, or at the start of `place`
        (n,), whose dtype it has then.

        Pages of a mapping would stay in memory beside what is made of them.
        """
        spec, stored = self.spec(name), self._chunk.view(self.spec(name).dtype)
        if place is None:
            tensor = torch.empty(spec.shape, dtype=dtype or spec.dtype)
        else:
            tensor = place[: math.prod(spec.shape)].view(spec.shape)
        with self._path.open("rb") as file:
            file.seek(self._starts[name])
            for part in torch.split(tensor.view(-1), len(stored)):
                numbers = stored[: len(part)]
                file.readinto(numbers.view(torch.uint8).numpy().data)
                part.copy_(numbers)
        return tensor

    @cached_property
    def _chunk(self) -> Tensor:
        """One for all tensors: memory that comes and goes between them leaves holes."""
        return torch.empty(CHUNK_BYTES, dtype=torch.uint8)

    @cached_property
    def _starts(self) -> Mapping[str, int]:
        """Where each tensor's bytes begin in the file, which the library does not tell."""
        with self._path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        return {name: 8 + size + header[name]["data_offsets"][0] for name in self.names}


@contextmanager
def open_weights(path: Path) -> Iterator[WeightsFile]:
    """Map a safetensors file, which its tensors may outlive; `LoadError` where it is damaged."""
    if not path.is_file():  # a pipe would wait for a writer
        raise LoadError(f"{path}: no such file")
    try:
        _check_header_size(path)
        handle = safe_open(path, framework="pt")
    except (SafetensorError, OSError, LoadError) as error:
        raise LoadError(f"{path}: {error}") from error
    with handle:
        yield WeightsFile(path, handle)


def write_weights(
    path: Path, specs: Mapping[str, TensorSpec], tensor: Callable[[str], Tensor]
) -> str:
    """Write the tensors that `tensor(name)` gives, one after the other; the file's sha256.

    Only one of them is in memory at a time, so a checkpoint larger than memory can be converted.
    """
    # Wide numbers first, so that every tensor is aligned to its own numbers.
    names = sorted(specs, key=lambda name: -specs[name].dtype.itemsize)
    header: dict[str, object] = {}
    end = 0
    for name in names:
        spec, start = specs[name], end
        end = start + spec.num_bytes
        header[name] = {
            "dtype": DTYPE_NAMES[spec.dtype],
            "shape": spec.shape,
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-(8 + len(encoded)) % ALIGNMENT)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(encoded).to_bytes(8, "little"), encoded):
            digest.update(part)
            file.write(part)
        for name in names:
            numbers = _bytes(tensor(name), specs[name])
            digest.update(numbers)
            file.write(numbers)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_header_size(path: Path) -> None:
    # The library itself would parse 100 MB of JSON.
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > min(MAX_HEADER_BYTES, path.stat().st_size - 8):
        raise LoadError(f"not a safetensors file, or a header larger than {MAX_HEADER_BYTES} bytes")


def _bytes(tensor: Tensor, spec: TensorSpec) -> memoryview:
    if (tensor.dtype, tuple(tensor.shape)) != (spec.dtype, spec.shape):
        raise ValueError(f"a tensor of {tensor.dtype} {tuple(tensor.shape)}, expected {spec}")
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data
