"""A bounded reader of GGUF files: metadata, and tensors as exact float32 arrays.

magic "GGUF" | version | number of tensors | number of keys
key | type | value           … (arrays: type of the items | count | items)
name | dims | type | offset  … (one for each tensor)
padding to the alignment
the tensors' bytes
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType, TracebackType

from minillm.errors import LoadError, shown
from minillm.ggml import TENSOR_TYPES, UNREADABLE_TYPES, Float32Array, TensorType
from minillm.gguf_values import Cursor

MAX_KEYS = 4096
MAX_TENSORS = 32_768
MAX_DIMS = 4


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: `shape` has the slowest dimension first; `start` counts from the file's start."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    start: int

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) // self.type.block_size * self.type.block_bytes

    @property
    def end(self) -> int:
        return self.start + self.num_bytes


class GGUFFile:
    """An open GGUF file. Use it as a context manager, or `close` it.

    `metadata` holds Python numbers, booleans and strings; arrays are numpy arrays, `StringArray`s
    (which need the file open) or, where nested, lists. What `load` returns outlives the file.
    """

    def __init__(
        self, data: mmap.mmap, metadata: Mapping[str, object], tensors: Mapping[str, TensorInfo]
    ) -> None:
        self._data = data
        self.metadata = MappingProxyType(metadata)
        self.tensors = MappingProxyType(tensors)

    @classmethod
    def open(cls, path: Path | str) -> GGUFFile:
        """Map the file and read its header; raises `LoadError` on anything out of order."""
        path = Path(path)
        if not path.is_file():  # a pipe would block, a folder has no bytes
            raise LoadError(f"{path}: no such file")
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # mmap refuses an empty file with a ValueError
            raise LoadError(f"{path}: cannot be read ({error})") from error
        try:
            return cls(data, *_read_header(data))
        except LoadError as error:
            data.close()
            raise LoadError(f"{path}: {error}") from error

    def load(self, name: str) -> Float32Array:
        """Tensor `name`, dequantised to float32 in the shape of its `TensorInfo`."""
        info = self.tensors[name]
        with memoryview(self._data) as view, view[info.start : info.end] as part:
            return info.type.dequantize(part).reshape(info.shape)

    def close(self) -> None:
        self._data.close()

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _read_header(data: mmap.mmap) -> tuple[dict[str, object], dict[str, TensorInfo]]:
    if data[:4] != b"GGUF":
        raise LoadError(f"not a GGUF file: it starts with {shown(data[:4])}")
    cursor = Cursor(data)
    cursor.take(4)
    version = cursor.u32()
    if version not in (2, 3):
        raise LoadError(f"GGUF version {version}, expected 2 or 3 (little-endian)")
    num_tensors = cursor.count("tensors", MAX_TENSORS)
    num_keys = cursor.count("keys", MAX_KEYS)
    metadata: dict[str, object] = {}
    for _ in range(num_keys):
        key = cursor.string()
        if key in metadata:
            raise LoadError(f"key {shown(key)} occurs twice")
        metadata[key] = cursor.value(key)
    infos = [_read_info(cursor) for _ in range(num_tensors)]
    return metadata, _place(infos, cursor.at, _alignment(metadata), len(data))


def _read_info(cursor: Cursor) -> TensorInfo:
    """One entry of the tensor table; its `start` still counts from the start of the data."""
    name = cursor.string()
    num_dims = cursor.u32()
    if not 1 <= num_dims <= MAX_DIMS:
        raise LoadError(f"tensor {shown(name)} has {num_dims} dimensions, expected 1 to {MAX_DIMS}")
    # The file lists the fastest dimension first.
    shape = tuple(cursor.u64() for _ in range(num_dims))[::-1]
    code, start = cursor.u32(), cursor.u64()
    if code not in TENSOR_TYPES:
        readable = " ".join(kind.name for kind in TENSOR_TYPES.values())
        raise LoadError(
            f"tensor {shown(name)} has type {code} ({UNREADABLE_TYPES.get(code, 'unknown')}), "
            f"readable are {readable}"
        )
    kind = TENSOR_TYPES[code]
    if min(shape) < 1 or shape[-1] % kind.block_size:
        raise LoadError(
            f"tensor {shown(name)} of shape {shape} is not a number of {kind.name} blocks, "
            f"{kind.block_size} weights each"
        )
    return TensorInfo(name, shape, kind, start)


def _place(
    infos: Iterable[TensorInfo], header_end: int, alignment: int, file_size: int
) -> dict[str, TensorInfo]:
    """Count the tensors' starts from the file's start; check that each lies inside, alone."""
    base = -(-header_end // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for info in infos:
        if info.name in tensors:
            raise LoadError(f"tensor {shown(info.name)} occurs twice")
        if info.start % alignment:
            raise LoadError(f"tensor {shown(info.name)} is not aligned to {alignment} bytes")
        placed = replace(info, start=base + info.start)
        if placed.end > file_size:
            raise LoadError(f"tensor {shown(info.name)} reaches beyond the end of the file")
        tensors[info.name] = placed
    # Tensors that share bytes would let a small file unfold into any amount of memory.
    for before, after in pairwise(sorted(tensors.values(), key=lambda info: info.start)):
        if before.end > after.start:
            raise LoadError(f"tensors {shown(before.name)} and {shown(after.name)} overlap")
    return tensors


def _alignment(metadata: Mapping[str, object]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise LoadError(f"general.alignment is {shown(alignment)}, expected a power of two")
    return alignment
