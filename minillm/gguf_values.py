"""The values in a GGUF header, read by a cursor that believes nothing the file says about itself.

A GGUF file is somebody else's input: a count, a length or a type is compared with a limit and with
the bytes that are left before anything is done with it. Every breach is one `LoadError`.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from struct import Struct
from struct import error as StructError
from typing import overload

import numpy as np

from minillm.errors import LoadError, shown

MAX_HEADER_BYTES = 32 << 20
MAX_STRING_BYTES = 64 << 10
MAX_TEMPLATE_BYTES = 256 << 10
MAX_ARRAY_ITEMS = 2_000_000
MAX_ARRAY_NESTING = 2
MAX_NESTED_ARRAYS = 4096

_U32, _U64 = Struct("<I"), Struct("<Q")
_INTEGERS = {
    0: Struct("<B"),
    1: Struct("<b"),
    2: Struct("<H"),
    3: Struct("<h"),
    4: _U32,
    5: Struct("<i"),
    10: _U64,
    11: Struct("<q"),
}
_NUMBERS = {**_INTEGERS, 6: Struct("<f"), 12: Struct("<d")}
_BOOL, _STRING, _ARRAY = 7, 8, 9


class StringArray(Sequence[str]):
    """The strings of an array, decoded when asked for: a vocabulary costs nothing to pass by."""

    def __init__(self, data: mmap.mmap, starts: array[int]) -> None:
        # Item i is data[starts[i] + 8 : starts[i + 1]]; the 8 bytes before it are its length.
        self._data = data
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return _text(self._data[self._starts[i] + 8 : self._starts[i + 1]])

    def __iter__(self) -> Iterator[str]:
        data = self._data
        return (_text(data[start + 8 : end]) for start, end in pairwise(self._starts))


class Cursor:
    """Walks a header front to back; `at` is the next byte."""

    def __init__(self, data: mmap.mmap) -> None:
        self.at = 0
        self._data = data
        self._end = min(len(data), MAX_HEADER_BYTES)
        self._nested_arrays = 0

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > self._end:
            raise _truncated()
        return self._data[start : self.at]

    def u32(self) -> int:
        return self._integer(_U32)

    def u64(self) -> int:
        return self._integer(_U64)

    def count(self, what: str, limit: int) -> int:
        """A number of items that follow; the smallest item is one byte."""
        count, limit = self.u64(), min(limit, self._end - self.at)
        if count > limit:
            raise LoadError(f"{count} {what}, at most {limit} are possible here")
        return count

    def string(self, limit: int = MAX_STRING_BYTES) -> str:
        length = self.u64()
        if length > limit:
            raise LoadError(f"a string of {length} bytes, the limit is {limit}")
        return _text(self.take(length))

    def value(self, key: str) -> object:
        """The value of metadata key `key`, whatever its type."""
        kind = self.u32()
        if kind == _STRING:
            is_template = key.startswith("tokenizer.chat_template")
            return self.string(MAX_TEMPLATE_BYTES if is_template else MAX_STRING_BYTES)
        if kind == _BOOL:
            return self.take(1) != b"\0"
        if kind == _ARRAY:
            return self._array(key, depth=1)
        if kind in _NUMBERS:
            number: int | float = _NUMBERS[kind].unpack(self.take(_NUMBERS[kind].size))[0]
            return number
        raise LoadError(f"key {shown(key)} has the unknown type {kind}")

    def _integer(self, kind: Struct) -> int:
        number: int = kind.unpack(self.take(kind.size))[0]
        return number

    def _array(self, key: str, depth: int) -> object:
        if depth > MAX_ARRAY_NESTING:
            raise LoadError(f"key {shown(key)} nests arrays deeper than {MAX_ARRAY_NESTING}")
        kind = self.u32()
        count = self.count(f"items of key {shown(key)}", MAX_ARRAY_ITEMS)
        if kind == _STRING:
            return StringArray(self._data, self._string_starts(count))
        if kind == _ARRAY:
            self._nested_arrays += count
            if self._nested_arrays > MAX_NESTED_ARRAYS:
                raise LoadError(f"key {shown(key)} nests more than {MAX_NESTED_ARRAYS} arrays")
            return [self._array(key, depth + 1) for _ in range(count)]
        if kind != _BOOL and kind not in _NUMBERS:
            raise LoadError(f"key {shown(key)} is an array of the unknown type {kind}")
        dtype = np.dtype(np.bool_ if kind == _BOOL else _NUMBERS[kind].format)
        return np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype)

    def _string_starts(self, count: int) -> array[int]:
        """Pass by `count` strings. The one tight loop: a vocabulary and its merges are 100,000."""
        data, at, end = self._data, self.at, self._end
        starts = array("I", [at])
        try:
            for _ in range(count):
                length = _U64.unpack_from(data, at)[0]
                if length > MAX_STRING_BYTES:
                    raise LoadError(f"a string of {length} bytes, the limit is {MAX_STRING_BYTES}")
                at += 8 + length
                if at > end:
                    raise _truncated()
                starts.append(at)
        except StructError as error:
            raise _truncated() from error
        self.at = at
        return starts


def _truncated() -> LoadError:
    return LoadError(f"the header is cut off, or larger than {MAX_HEADER_BYTES} bytes")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LoadError(f"a string is not UTF-8: {shown(data)}") from error
