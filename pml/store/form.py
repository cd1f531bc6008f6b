"""A stored state as a safetensors file: its form, and what it is checked by.

    tensors     those of its codec, and `tokens`, its ids
    metadata    format, digest, origin, codec, seconds, label, namespace, expires, and the codec's

A file's name is its sha256. That is as slow as it is safe (0.4 GB/s on a Zen 3 without its SHA
instructions), so it is computed when a file comes from elsewhere or was touched since; what reads a
file that nobody touched compares the 128 bits of xxh3 (3 GB/s), which no accident passes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from minillm.kv import KVSegment
from pml.store.keys import SegmentKey
from pml.store.protocols import Codec, Packed, Stored

FORMAT = "1"
MAX_HEADER_BYTES = 1 << 20


class Damaged(Exception):
    """A stored state is not what was stored."""


class Native:
    """Numbers as they are."""

    name = "native"
    is_exact = True

    def pack(self, segment: KVSegment) -> Packed:
        tensors = {"block": segment.block, "offsets": segment.offsets}
        return Packed(tensors, {"origin": str(segment.origin)})

    def unpack(self, packed: Packed) -> KVSegment:
        block, offsets = packed.tensors["block"], packed.tensors["offsets"]
        if block.dim() != 5 or offsets.shape != block.shape[3:4]:
            raise ValueError(f"shapes {tuple(block.shape)} and {tuple(offsets.shape)}")
        return KVSegment(block, offsets, int(packed.metadata["origin"]))


def dump(stored: Stored, codec: Codec) -> bytes:
    """The file's bytes."""
    packed = stored.packed or codec.pack(stored.segment)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in packed.tensors.items()}
    tensors["tokens"] = torch.tensor(stored.key.tokens, dtype=torch.long)
    metadata = {
        "format": FORMAT,
        "digest": stored.key.digest,
        "origin": str(stored.key.origin),
        "codec": codec.name,
        "seconds": "" if stored.seconds is None else repr(stored.seconds),
        "label": stored.label,
        "namespace": stored.namespace,
        "expires": "" if stored.expires is None else repr(stored.expires),
    }
    return save_tensors(tensors, {**packed.metadata, **metadata})


def load(data: bytes, codec: Codec) -> Stored:
    """Out of a file's bytes. Raises `Damaged`."""
    try:
        header = data[8 : 8 + _header_size(data, len(data))]
        return _stored(Packed(load_tensors(data), _metadata(header)), codec)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise Damaged(str(error)) from error


def load_mapped(path: Path, codec: Codec) -> Stored:
    """Out of a file, whose pages are mapped and not copied. Raises `Damaged` and `OSError`."""
    try:
        with path.open("rb") as start:
            _header_size(start.read(8), path.stat().st_size)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return _stored(Packed(tensors, file.metadata() or {}), codec)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise Damaged(str(error)) from error


def read_metadata(path: Path) -> Mapping[str, str]:
    """What a file says of itself. Raises `Damaged` and `OSError`."""
    try:
        with path.open("rb") as file:
            size = _header_size(file.read(8), path.stat().st_size)
            return _metadata(file.read(size))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(str(error)) from error


def checksum(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def checksum_of(path: Path) -> str:
    """Of a file, whose pages are in memory afterwards. Raises `OSError` for what cannot be read,
    where a mapped file would end the process."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def _stored(packed: Packed, codec: Codec) -> Stored:
    metadata = packed.metadata
    if metadata["format"] != FORMAT or metadata["codec"] != codec.name:
        found = f"format {metadata['format']}, codec {metadata['codec']}"
        raise ValueError(f"{found}; expected {FORMAT}, {codec.name}")
    tensors = dict(packed.tensors)
    tokens = tuple(tensors.pop("tokens").tolist())
    key = SegmentKey(metadata["digest"], int(metadata["origin"]), tokens)
    segment = codec.unpack(Packed(tensors, metadata))
    if (segment.num_tokens, segment.origin) != (len(tokens), key.origin):
        raise ValueError(f"{segment.num_tokens} states of {len(tokens)} tokens at {key.origin}")
    return Stored(
        key,
        segment,
        _number(metadata["seconds"]),
        metadata["label"],
        metadata["namespace"],
        _number(metadata["expires"]),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _header_size(start: bytes, num_bytes: int) -> int:
    """That of a file of `num_bytes`, which its first eight say. The library would parse 100 MB."""
    size = int.from_bytes(start[:8], "little")
    if size > min(MAX_HEADER_BYTES, num_bytes - 8):
        raise ValueError("not a safetensors file, or one with a header that is too long")
    return size


def _metadata(header: bytes) -> Mapping[str, str]:
    metadata = json.loads(header)["__metadata__"]
    if not isinstance(metadata, dict):
        raise ValueError("no metadata")
    return metadata
