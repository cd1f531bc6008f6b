"""The block formats that GGUF tensors are stored in, and what their numbers are.

A row of weights is cut into blocks; a block holds a few small integers and the float16 factors
that turn them back into weights. Each format is a numpy record of one block and a function from
records (n,) to float32 weights (n, block size). The arithmetic is ggml's own, in float32 and in
its order, so the results are equal to it bit for bit. Layouts: ggml/src/ggml-common.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]

CHUNK_WEIGHTS = 1 << 20  # decoded at a time: intermediates stay in the cache, not in the gigabytes


@dataclass(frozen=True)
class TensorType:
    """A block format: `block` is the record of one block, which holds `block_size` weights."""

    name: str
    block_size: int
    block: np.dtype[np.void]
    decode: Callable[[NDArray[np.void]], Float32Array]

    @property
    def block_bytes(self) -> int:
        return self.block.itemsize

    def dequantize(self, data: bytes | memoryview) -> Float32Array:
        """The weights (number of blocks x block size,) in float32, exact; `data` is copied."""
        blocks = np.frombuffer(data, dtype=self.block)
        weights = np.empty((len(blocks), self.block_size), dtype=np.float32)
        step = CHUNK_WEIGHTS // self.block_size
        # A damaged file may hold infinities and NaN: they are passed on, and are no warning here.
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, len(blocks), step):
                weights[start : start + step] = self.decode(blocks[start : start + step])
        return weights.reshape(-1)


def _float(numbers: NDArray[np.generic]) -> Float32Array:
    return numbers.astype(np.float32)


def _column(factors: NDArray[np.generic]) -> Float32Array:
    """One factor for each block, as a column that broadcasts over the block's weights."""
    return _float(factors)[..., None]


def _nibbles(packed: Bytes) -> Bytes:
    """(…, n) bytes -> (…, 2n): all low halves, then all high halves."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _decode_plain(b: NDArray[np.void]) -> Float32Array:
    return _column(b["w"])


def _decode_bf16(b: NDArray[np.void]) -> Float32Array:
    return (b["w"].astype(np.uint32) << 16).view(np.float32)[:, None]


def _decode_q4_0(b: NDArray[np.void]) -> Float32Array:
    return _column(b["d"]) * (_float(_nibbles(b["q"])) - np.float32(8))


def _decode_q4_1(b: NDArray[np.void]) -> Float32Array:
    return _column(b["d"]) * _float(_nibbles(b["q"])) + _column(b["m"])


def _decode_q8_0(b: NDArray[np.void]) -> Float32Array:
    return _column(b["d"]) * _float(b["q"])


def _decode_q4_k(b: NDArray[np.void]) -> Float32Array:
    """Eight sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.

    Of the 12 scale bytes the first four hold scales 0-3 and the next four minima 0-3, in their
    lower 6 bits; the last four hold the low nibbles of scales (low) and minima (high) 4-7, whose
    upper 2 bits sit on top of the first eight bytes.
    """
    first, second, third = (b["scales"][:, i : i + 4] for i in (0, 4, 8))
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    d = _column(b["d"]) * _float(scales)  # (n, 8)
    m = _column(b["dmin"]) * _float(minima)
    q = _nibbles(b["q"]).reshape(-1, 8, 32)  # 32 bytes give two neighbouring sub-blocks
    return (d[..., None] * _float(q) - m[..., None]).reshape(-1, 256)


def _decode_q6_k(b: NDArray[np.void]) -> Float32Array:
    """Sixteen sub-blocks of 16 with 8-bit scales; a weight is 4 low bits and 2 high bits, - 32."""
    low = _nibbles(b["low"]).reshape(-1, 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]
    high = (b["high"][:, :, None, :] >> shifts) & 3  # (n, 2, 4, 32)
    q = _float(low | (high << 4)) - np.float32(32)
    d = _column(b["d"]) * _float(b["scales"])  # (n, 16)
    return (d[..., None] * q.reshape(-1, 16, 16)).reshape(-1, 256)


def _record(*fields: tuple[str, str] | tuple[str, str, int | tuple[int, ...]]) -> np.dtype[np.void]:
    return np.dtype(list(fields))


# The formats that can be read, by their number in the file.
TENSOR_TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, _record(("w", "<f4")), _decode_plain),
    1: TensorType("F16", 1, _record(("w", "<f2")), _decode_plain),
    2: TensorType("Q4_0", 32, _record(("d", "<f2"), ("q", "u1", 16)), _decode_q4_0),
    3: TensorType("Q4_1", 32, _record(("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)), _decode_q4_1),
    8: TensorType("Q8_0", 32, _record(("d", "<f2"), ("q", "i1", 32)), _decode_q8_0),
    12: TensorType(
        "Q4_K",
        256,
        _record(("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("q", "u1", (4, 32))),
        _decode_q4_k,
    ),
    14: TensorType(
        "Q6_K",
        256,
        _record(
            ("low", "u1", (2, 64)), ("high", "u1", (2, 32)), ("scales", "i1", 16), ("d", "<f2")
        ),
        _decode_q6_k,
    ),
    30: TensorType("BF16", 1, _record(("w", "<u2")), _decode_bf16),
}

# Formats that files in the wild do use: a refusal names them, so that one knows what to look for.
UNREADABLE_TYPES = {6: "Q5_0", 7: "Q5_1", 10: "Q2_K", 11: "Q3_K", 13: "Q5_K", 15: "Q8_K"}
