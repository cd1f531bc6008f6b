"""The files of a store's folder: written whole or not at all, named by what they hold.

format              which form the folder has
index.sqlite        what is where (`index.py`)
states/ab/SHA256    a state each (`form.py`)
new/                files that are being written
quarantine/         damaged files; nothing reads them
claims              locks: who is encoding what
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from minillm.weights_file import sha256_of
from pml.store.form import Damaged, checksum_of
from pml.store.protocols import StoreError

FORM = "pml store 1\n"
ABANDONED = 3600.0
"""Seconds after which nobody is writing a new file any more."""
UNFINISHED = re.compile(r"\.\d+-\d+")
"""Names of files that are being written; one stays where a folder was cut off from being made."""


class Files:
    """Raises `StoreError` for a folder that is something else, `OSError` for one out of reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._states, self._new = folder / "states", folder / "new"
        make_folder(folder)
        self._check_form()
        for place in (self._states, self._new, self.quarantine):
            make_folder(place)

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine"

    def _check_form(self) -> None:
        path = self.folder / "format"
        if not path.exists():
            names = sorted(entry.name for entry in self.folder.iterdir())
            strangers = [name for name in names if not UNFINISHED.fullmatch(name)]
            if strangers and not (self._states.is_dir() and self._new.is_dir()):
                raise StoreError(
                    f"{self.folder}: no store, it holds {strangers[0]!r}; name an empty folder"
                )
            self.put_in_place(self.write_new(FORM.encode(), self.folder), path)
        found = path.read_bytes()[:80]
        if found != FORM.encode():
            raise StoreError(
                f"{self.folder}: its format is {found!r}, expected {FORM.encode()!r}; "
                "name another folder"
            )

    def path(self, name: str) -> Path:
        return self._states / name[:2] / name

    def write_new(self, data: bytes, place: Path | None = None) -> Path:
        """`data` in a file of its own that survives a power cut, not yet where it belongs."""
        path = (place or self._new) / f".{os.getpid()}-{time.time_ns()}"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return path

    def put_in_place(self, new: Path, path: Path) -> None:
        """Give a new file its name, so that it survives a power cut."""
        make_folder(path.parent)
        os.replace(new, path)
        sync_folder(path.parent)

    def check(self, name: str, checksum: str, stamp: str) -> tuple[str, str]:
        """That a file is what it was: by its checksum, and by its sha256 where it was touched since
        `stamp`. Its checksum and stamp. Raises `Damaged` and `OSError`."""
        path = self.path(name)
        now = stamp_of(path)
        if now != stamp and sha256_of(path) != name:
            raise Damaged("its sha256 is not its name")
        found = checksum_of(path)
        if checksum not in ("", found):
            raise Damaged("its bytes are not those that were written")
        return found, now

    def put_aside(self, name: str) -> None:
        """Into quarantine, where a file of that name may lie already."""
        path = self.path(name)
        try:
            os.replace(path, self.quarantine / f"{name}.{time.time_ns()}")
        except FileNotFoundError:
            return
        sync_folder(path.parent)

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Of all states, in no order."""
        for place in self._states.iterdir():
            yield from (path.name for path in place.iterdir())

    def remove_abandoned(self) -> int:
        """What processes left that were killed while they wrote; how many."""
        old = [p for p in self._new.iterdir() if p.stat().st_mtime < time.time() - ABANDONED]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stamp_of(path: Path) -> str:
    """What changes when somebody writes to a file or puts another in its place."""
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def make_folder(path: Path) -> None:
    """It and what it lies in, for their owner only, so that they survive a power cut."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
