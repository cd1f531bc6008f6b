"""GGUF files byte by byte, so that tests can also write what no honest writer would."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

F32, F16, Q4_1, Q8_0, BF16 = 0, 1, 3, 8, 30


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return u64(len(data)) + data


def value(item: object) -> bytes:
    """A typed value: bool, int (uint32), float (float32), str, or a list of one of them."""
    if isinstance(item, list):
        kinds = {_kind(element) for element in item} or {4}
        (kind,) = kinds
        return u32(9) + u32(kind) + u64(len(item)) + b"".join(map(_payload, item))
    return u32(_kind(item)) + _payload(item)


def _kind(item: object) -> int:
    return {bool: 7, int: 4, float: 6, str: 8}[type(item)]


def _payload(item: object) -> bytes:
    match item:
        case bool():
            return bytes([item])
        case int():
            return u32(item)
        case float():
            return struct.pack("<f", item)
        case str():
            return text(item)
    raise TypeError(item)


@dataclass
class Tensor:
    """`dims` in the file's order, fastest first; without `start`, one lies after the other."""

    name: str
    dims: Sequence[int]
    kind: int
    data: bytes
    start: int | None = None


def gguf(
    metadata: Iterable[tuple[str, bytes]] = (),
    tensors: Sequence[Tensor] = (),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    num_tensors: int | None = None,
    num_keys: int | None = None,
    tail: bytes | None = None,
    alignment: int = 32,
) -> bytes:
    """A file of keys with values from `value`, and tensors; `tail` replaces all after the keys."""
    metadata = list(metadata)
    header = magic + u32(version)
    header += u64(len(tensors) if num_tensors is None else num_tensors)
    header += u64(len(metadata) if num_keys is None else num_keys)
    header += b"".join(text(key) + encoded for key, encoded in metadata)
    if tail is not None:
        return header + tail
    table, data = bytearray(), bytearray()
    for tensor in tensors:
        start = len(data) if tensor.start is None else tensor.start
        table += text(tensor.name) + u32(len(tensor.dims)) + b"".join(map(u64, tensor.dims))
        table += u32(tensor.kind) + u64(start)
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    header += table
    return header + bytes(-len(header) % alignment) + data
