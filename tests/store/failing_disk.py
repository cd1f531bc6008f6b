"""A disk on which some operations fail, as where it is full or worn out."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlite_calls import watched

FULL = {"wrote": 13, "synced": 13, "opened": 14}
"""SQLITE_FULL, and SQLITE_CANTOPEN for a journal that has no place."""
WORN = {"opened": 14, "reads": 266, "wrote": 778, "synced": 1034, "resized": 1546, "removed": 2570}
"""SQLITE_CANTOPEN and SQLITE_IOERR_READ, _WRITE, _FSYNC, _TRUNCATE, _DELETE."""

OPERATIONS = ("open", "write", "fsync", "replace", "mkdir", "unlink")


class FailingDisk:
    """While it is `failing`, operations in `folder` fail that `fails` names by name and number:
    those of `os`, `read` of a file, and `sqlite`'s own."""

    def __init__(self, folder: Path, code: int, fails: Callable[[str, int], bool]) -> None:
        self.count = self.failed = 0
        self._folder, self._code, self._fails = folder, code, fails
        self._handles: set[int] = set()
        self._is_on = False

    @contextmanager
    def failing(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name in OPERATIONS:
                wrapped = self._wrapped(name, getattr(os, name))
                stack.enter_context(patch.object(os, name, wrapped))
            stack.enter_context(patch.object(io, "open", self._reader(io.open)))
            stack.enter_context(patch.object(self, "_is_on", True))
            yield

    def watching_sqlite(self) -> Any:
        """Around all of the life of a database."""
        return watched(self)

    def opened(self, path: Path) -> int:
        return self._of_sqlite("opened")

    def reads(self, path: Path) -> int:
        return self._of_sqlite("reads")

    def wrote(self, path: Path, offset: int, data: bytes) -> int:
        return self._of_sqlite("wrote")

    def resized(self, path: Path, size: int) -> int:
        return self._of_sqlite("resized")

    def synced(self, path: Path) -> int:
        return self._of_sqlite("synced")

    def removed(self, path: Path) -> int:
        return self._of_sqlite("removed")

    def _of_sqlite(self, name: str) -> int:
        codes = FULL if self._code == errno.ENOSPC else WORN
        return codes.get(name, 0) if name in codes and self._is_to_fail("sqlite") else 0

    def _wrapped(self, name: str, real: Any) -> Any:
        def operation(place: Any, *rest: Any, **more: Any) -> Any:
            is_here = place in self._handles if isinstance(place, int) else self._has(place)
            if is_here and self._is_to_fail(name):
                raise OSError(self._code, os.strerror(self._code), str(place))
            done = real(place, *rest, **more)
            if name == "open":
                (self._handles.add if self._has(place) else self._handles.discard)(done)
            return done

        return operation

    def _reader(self, real: Any) -> Any:
        def open_(place: Any, *rest: Any, **more: Any) -> Any:
            file = real(place, *rest, **more)
            if self._has(place) and self._is_to_fail("read"):
                file.close()
                return Unreadable(place)
            return file

        return open_

    def _has(self, place: Any) -> bool:
        return isinstance(place, str | Path) and Path(place).is_relative_to(self._folder)

    def _is_to_fail(self, name: str) -> bool:
        if not self._is_on:
            return False
        self.count += 1
        fails = self._fails(name, self.count)
        self.failed += fails
        return fails


class Unreadable(io.FileIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), self.name)

    def readinto(self, buffer: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), self.name)
