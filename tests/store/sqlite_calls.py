"""SQLite's own file operations, told as they are made: its layer to the system (VFS), wrapped.

Python's `os` does not see them.
"""

from __future__ import annotations

import _sqlite3
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, Protocol

OPENS_JOURNAL = 0x80000 | 0x800
"""SQLITE_OPEN_WAL and _MAIN_JOURNAL: the first sync of such a file syncs its folder, too."""

KEPT: list[Any] = []
"""What SQLite may still call: a database that a failed test leaves open."""


class Watcher(Protocol):
    """Told before an operation is made, which is not made if that gives an error code, not 0."""

    def opened(self, path: Path) -> int: ...

    def reads(self, path: Path) -> int: ...

    def wrote(self, path: Path, offset: int, data: bytes) -> int: ...

    def resized(self, path: Path, size: int) -> int: ...

    def synced(self, path: Path) -> int: ...

    def removed(self, path: Path) -> int: ...


Read = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
Sync = CFUNCTYPE(c_int, c_void_p, c_int)
Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)


class Methods(ctypes.Structure):
    """`sqlite3_io_methods`: of an open file."""

    _fields_ = (
        ("version", c_int),
        ("close", c_void_p),
        ("read", Read),
        ("write", Write),
        ("truncate", Truncate),
        ("sync", Sync),
        ("others", c_void_p * 13),
    )


class File(ctypes.Structure):
    _fields_ = (("methods", POINTER(Methods)),)


class Vfs(ctypes.Structure):
    """`sqlite3_vfs`, as far as it is of use here."""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", Open),
        ("delete", Delete),
    )


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Every database that is opened in here has its operations told."""
    vfs = _default_vfs()
    open_, delete = Open.from_buffer_copy(vfs.open), Delete.from_buffer_copy(vfs.delete)

    def wrapped_open(own: int, name: int | None, file: int, flags: int, out: Any) -> int:
        if name is None:  # a temporary file
            return int(open_(own, name, file, flags, out))
        path = Path(ctypes.string_at(name).decode())
        code = watcher.opened(path) or open_(own, name, file, flags, out)
        if code == 0:
            of_file = File.from_address(file)
            methods = _wrapped(of_file.methods.contents, path, bool(flags & OPENS_JOURNAL), watcher)
            KEPT.append(methods)
            of_file.methods = ctypes.pointer(methods)
        return code

    def wrapped_delete(own: int, name: bytes, sync: int) -> int:
        path = Path(name.decode())
        code = watcher.removed(path) or delete(own, name, sync)
        return code or (watcher.synced(path.parent) if sync else 0)

    vfs.open, vfs.delete = Open(wrapped_open), Delete(wrapped_delete)
    KEPT.extend((vfs.open, vfs.delete))
    try:
        yield
    finally:
        vfs.open, vfs.delete = open_, delete


def _wrapped(original: Methods, path: Path, is_journal: bool, watcher: Watcher) -> Methods:
    is_new = is_journal

    def read(file: int, data: int, count: int, offset: int) -> int:
        return watcher.reads(path) or original.read(file, data, count, offset)

    def write(file: int, data: int, count: int, offset: int) -> int:
        code = watcher.wrote(path, offset, ctypes.string_at(data, count))
        return code or original.write(file, data, count, offset)

    def truncate(file: int, size: int) -> int:
        return watcher.resized(path, size) or original.truncate(file, size)

    def sync(file: int, flags: int) -> int:
        nonlocal is_new
        code = watcher.synced(path) or (watcher.synced(path.parent) if is_new else 0)
        is_new = False
        return code or original.sync(file, flags)

    methods = Methods.from_buffer_copy(original)
    methods.read, methods.write = Read(read), Write(write)
    methods.truncate, methods.sync = Truncate(truncate), Sync(sync)
    return methods


def _default_vfs() -> Vfs:
    find = ctypes.CDLL(_sqlite3.__file__).sqlite3_vfs_find
    find.restype, find.argtypes = POINTER(Vfs), [c_char_p]
    vfs: Vfs = find(None).contents
    return vfs
