"""What a store's folder needs now and then: checked through, cleaned up, carried elsewhere."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pml.store.files import name_of
from pml.store.folder import StateFolder
from pml.store.index import Row
from pml.store.protocols import StoreError
from pml.store.recovery import row_of

MAX_STATE_BYTES = 1 << 34

Told = Callable[[int, int], None]
"""How many states are done, of how many."""


@dataclass(frozen=True)
class Verified:
    """`found` files that no index knew of are in it now."""

    checked: int
    damaged: int
    found: int


@dataclass(frozen=True)
class Collected:
    """States that were removed, their bytes, and what killed processes had left."""

    states: int
    num_bytes: int
    abandoned: int


def verify(folder: StateFolder, told: Told = lambda done, total: None) -> Verified:
    """Compare every file with its sha256; what is damaged goes into quarantine."""
    before = folder.damaged
    folder.asked(lambda: folder.index.check())
    found = folder.asked(lambda: _taken_in(folder))
    rows = folder.rows()
    for done, row in enumerate(rows):
        told(done, len(rows))
        folder.check(replace(row, stamp=""))
    return Verified(len(rows), folder.damaged - before, found)


def _taken_in(folder: StateFolder) -> int:
    """Files that the index does not know, as a process leaves them that is killed; how many."""
    found = 0
    with folder.index.writing():
        for name in [*folder.files.names()]:
            if folder.index.has_file(name):
                continue
            row = row_of(folder.files, name)
            folder.damaged += row is None
            if row is not None and folder.index.find(row.key) is None:
                folder.index.add(row)
                found += 1
            elif row is not None:
                folder.files.remove(name)
    return found


def collect(
    folder: StateFolder, *, max_bytes: int | None = None, max_age: float | None = None
) -> Collected:
    """Remove what has expired, what was not used for `max_age` seconds, and the least worthy down
    to `max_bytes`. What is pinned stays."""
    now = time.time()
    gone = {row.key: row for row in folder.rows() if row.expires and row.expires <= now}
    if max_age is not None:
        gone |= {row.key: row for row in folder.index.unused_since(now - max_age)}
    left = folder.num_bytes - sum(row.num_bytes for row in gone.values())
    for row in folder.index.least_worthy() if max_bytes is not None else ():
        if max_bytes is None or left <= max_bytes:
            break
        if row.key not in gone:
            gone[row.key] = row
            left -= row.num_bytes
    if gone:
        folder.remove(gone)
    size = sum(row.num_bytes for row in gone.values())
    return Collected(len(gone), size, folder.files.remove_abandoned())


def export(folder: StateFolder, rows: Iterable[Row], path: Path) -> int:
    """Their files, checked, in one uncompressed tar file; how many. Raises `StoreError` for a
    damaged one."""
    count = 0
    new = path.with_name(f".{path.name}.new")
    try:
        with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as archive:
            for row in rows:
                if not folder.check(replace(row, stamp="")):
                    raise StoreError(f"{row.label}: damaged, now in quarantine; encode it again")
                archive.add(folder.files.path(row.file), row.file, recursive=False)
                count += 1
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return count


def import_(folder: StateFolder, path: Path) -> tuple[int, int]:
    """Take the states of an exported file: how many are new, and how many were here. Nothing of it
    is trusted but what its hashes prove. Raises `StoreError` for what no `export` has written."""
    new = known = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isreg() or member.size > MAX_STATE_BYTES:
                    raise StoreError(f"{path}: {member.name!r} is no state")
                file = archive.extractfile(member)
                assert file is not None
                data = file.read()
                if name_of(data) != member.name:
                    raise StoreError(f"{path}: {member.name[:80]!r} is damaged")
                is_new = folder.adopt(data)
                new, known = new + is_new, known + (not is_new)
    except tarfile.TarError as error:
        raise StoreError(f"{path}: no exported states: {error}") from None
    return new, known
