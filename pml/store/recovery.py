"""Opening a store's index, and making it anew from the files where it is lost or damaged."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minillm.weights_file import sha256_of
from pml.store.files import Files, sync_folder
from pml.store.form import Damaged, read_metadata
from pml.store.index import DamagedIndex, Index, Row, checked, judged

log = logging.getLogger("pml")

INDEX = "index.sqlite"
NEW = "index.new"


def open_index(files: Files, bad: int | None = None) -> tuple[Index, int]:
    """The index, and how many damaged files were found on the way. One whose inode is `bad` is
    known to be damaged."""
    with _alone(files):
        try:
            with judged():
                if (index := _checked(files.folder / INDEX, bad)) is not None:
                    return index, 0
        except DamagedIndex as error:
            log.warning("store: %s: %s; its index is made anew", files.folder, str(error))
        return _made_anew(files)


def _checked(path: Path, bad: int | None) -> Index | None:
    if not path.exists() or path.stat().st_ino == bad:
        return None
    index = Index(path)
    try:
        index.sums  # noqa: B018 (raises where they cannot be)
    except BaseException:
        index.close()
        raise
    return index


def _made_anew(files: Files) -> tuple[Index, int]:
    """Under another name until it is complete: an index that stands there is believed."""
    path, new = files.folder / INDEX, files.folder / NEW
    _remove_index(new)
    index = Index(new)
    try:
        damaged = _fill(index, files)
    finally:
        index.close()
    _remove_index(path)
    files.put_in_place(new, path)
    return Index(path), damaged


def _fill(index: Index, files: Files) -> int:
    """How many damaged files were found."""
    damaged = 0
    with index.writing():
        for name in files.names():
            try:
                row = row_of(files, name)
            except OSError as error:  # it may be well again when `verify` finds it
                log.warning("store: %s: %s", files.path(name), error)
                continue
            if row is None:
                damaged += 1
            elif (other := index.find(row.key)) is None:
                index.add(row)
            else:
                index.add(_better(files, row, other))
    return damaged


def _remove_index(path: Path) -> None:
    """So that no log of changes to it is ever taken for one to its successor."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    sync_folder(path.parent)


def _better(files: Files, *rows: Row) -> Row:
    """Of files that say they are the same state, the newest that is what its name says: one may be
    a copy under a wrong name. The others go."""
    best = max(rows, key=lambda row: (sha256_of(files.path(row.file)) == row.file, row.created))
    for row in rows:
        if row is not best:
            files.put_aside(row.file)
    return best


def row_of(files: Files, name: str) -> Row | None:
    """What a file says of itself, to be checked when it is read: neither its checksum nor its stamp
    is known. None for a damaged one, which is put aside. Raises `OSError` for one out of reach."""
    path = files.path(name)
    try:
        said, found = read_metadata(path), path.stat()
        seconds, expires = (float(said[k]) if said[k] else None for k in ("seconds", "expires"))
        row = Row(
            digest=said["digest"],
            origin=int(said["origin"]),
            file=name,
            num_bytes=found.st_size,
            checksum="",
            stamp="",
            seconds=seconds,
            label=said["label"],
            namespace=said["namespace"],
            codec=said["codec"],
            created=found.st_mtime,
            expires=expires,
            used=found.st_mtime,
            uses=1,
            worth=0.0,
            pinned=0,
        )
        return checked(row)
    except (Damaged, DamagedIndex, KeyError, ValueError) as error:
        log.warning("store: %s is damaged: %s", path, error)
        files.put_aside(name)
        return None


@contextmanager
def _alone(files: Files) -> Iterator[None]:
    """One process at a time opens an index, or makes it."""
    handle = os.open(files.folder / "opening", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
