"""What lies in a store's folder: a SQLite index (WAL) that several processes share.

It holds what is known of each file, and nothing that could not be read from the files again. It is
never scanned to be opened: sums are kept by triggers.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from pml.store.keys import SegmentKey

VERSION = 1


@dataclass(frozen=True)
class Row:
    """A stored state. `file` is its sha256 and its name; `checksum` and `stamp` say what it was
    like when it was checked last. `worth` is the policy's: the least goes first."""

    digest: str
    origin: int
    file: str
    num_bytes: int
    checksum: str
    stamp: str
    seconds: float | None
    label: str
    namespace: str
    codec: str
    created: float
    expires: float | None
    used: float
    uses: int
    worth: float
    pinned: int

    @property
    def key(self) -> SegmentKey:
        return SegmentKey(self.digest, self.origin, ())


class DamagedIndex(Exception):
    """What the index says cannot be; it can be made anew from the files."""


PASSING = ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "NOMEM", "PERM")
"""Errors of SQLite that are not about what the index holds."""

UNREAD = "unable to get the page"
"""What SQLite's checks say of a page that the disk does not give, which is no damage."""

NUMBER, MAYBE = (int, float), (int, float, type(None))
TYPES: tuple[Any, ...] = (
    str,
    int,
    str,
    int,
    str,
    str,
    MAYBE,
    *3 * [str],
    NUMBER,
    MAYBE,
    NUMBER,
    int,
    NUMBER,
    int,
)
COLUMNS = ", ".join(field.name for field in fields(Row))
SCHEMA = f"""
CREATE TABLE states ({COLUMNS}, PRIMARY KEY (digest, origin)) WITHOUT ROWID;
CREATE UNIQUE INDEX by_file ON states (file);
CREATE INDEX by_worth ON states (pinned, worth);
CREATE INDEX by_use ON states (used);
CREATE TABLE sums (num_states INTEGER, num_bytes INTEGER, age REAL);
INSERT INTO sums VALUES (0, 0, 0);
CREATE TRIGGER added AFTER INSERT ON states BEGIN
  UPDATE sums SET num_states = num_states + 1, num_bytes = num_bytes + new.num_bytes;
END;
CREATE TRIGGER gone AFTER DELETE ON states BEGIN
  UPDATE sums SET num_states = num_states - 1, num_bytes = num_bytes - old.num_bytes;
END;
PRAGMA user_version = {VERSION};
"""


@contextmanager
def judged() -> Iterator[None]:
    """Errors of SQLite that come of a damaged file, as `DamagedIndex`."""
    try:
        yield
    except UnicodeDecodeError as error:  # names that no text can be
        raise DamagedIndex(str(error)) from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.removeprefix("SQLITE_").startswith(PASSING):
            raise
        raise DamagedIndex(str(error)) from error


class Index:
    """Raises `DamagedIndex` where what it finds cannot be; use it under `judged`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))  # for its owner's eyes only
        # Made in one thread and used in another one, as a service does: never by two at a time.
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        # What is acknowledged is on the disk, and survives a power cut.
        self._db.execute("PRAGMA synchronous = FULL")
        if self._version() == 0:
            with self.writing():
                if self._version() == 0:  # nobody else was faster
                    for statement in _statements(SCHEMA):
                        self._db.execute(statement)
        if self._version() != VERSION:
            raise DamagedIndex(f"version {self._version()}, expected {VERSION}")
        self.inode = self._path.stat().st_ino

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one that others would open."""
        try:
            return os.stat(self._path).st_ino == self.inode
        except OSError:
            return False

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Alone among all processes; all or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def find(self, key: SegmentKey) -> Row | None:
        where = "SELECT * FROM states WHERE digest = ? AND origin = ?"
        found = self._db.execute(where, (key.digest, key.origin)).fetchone()
        return None if found is None else _row(found)

    def origins(self, digest: str) -> list[int]:
        rows = self._db.execute("SELECT origin FROM states WHERE digest = ?", (digest,))
        return [origin for (origin,) in rows]

    def add(self, row: Row) -> None:
        marks = ", ".join("?" * len(fields(Row)))
        self.remove(row.key)
        self._db.execute(f"INSERT INTO states VALUES ({marks})", astuple(row))

    def remove(self, key: SegmentKey) -> None:
        where = "DELETE FROM states WHERE digest = ? AND origin = ?"
        self._db.execute(where, (key.digest, key.origin))

    def update(self, key: SegmentKey, **values: object) -> None:
        sets = ", ".join(f"{name} = ?" for name in values)
        where = f"UPDATE states SET {sets} WHERE digest = ? AND origin = ?"
        self._db.execute(where, (*values.values(), key.digest, key.origin))

    def check(self) -> None:
        """All of it, which takes a second for 10,000 states. Raises `DamagedIndex`."""
        self._check("integrity_check")

    def check_quickly(self) -> None:
        """Its form, but not whether its parts agree. Raises `DamagedIndex`."""
        self._check("quick_check")

    def _check(self, pragma: str) -> None:
        (found,) = self._db.execute(f"PRAGMA {pragma}(1)").fetchone()
        if UNREAD in str(found):
            raise OSError(f"{self._path}: {found}")
        if found != "ok":
            raise DamagedIndex(found)

    def has_file(self, name: str) -> bool:
        found = self._db.execute("SELECT 1 FROM states WHERE file = ?", (name,))
        return found.fetchone() is not None

    @property
    def sums(self) -> tuple[int, int, float]:
        """States, bytes, and the policy's age."""
        found: tuple[Any, ...] = self._db.execute("SELECT * FROM sums").fetchone() or ()
        if not _are(found, 3 * (NUMBER,)):
            raise DamagedIndex(f"sums of {found}")
        num_states, num_bytes, age = found
        return int(num_states), int(num_bytes), float(age)

    def grow_old(self, age: float) -> None:
        self._db.execute("UPDATE sums SET age = max(age, ?)", (age,))

    def rows(
        self, prefix: str = "", after: tuple[str, int] | None = None, limit: int = -1
    ) -> list[Row]:
        """In the order of their keys: those that begin with `prefix`, behind `after`."""
        where = "WHERE digest >= ? AND digest < ? AND (digest, origin) > (?, ?)"
        query = f"SELECT * FROM states {where} ORDER BY digest, origin LIMIT ?"
        last = after or ("", 0)
        values = (max(prefix, last[0]), prefix + "g", *last, limit)
        found = self._db.execute(query, values)
        return [_row(one) for one in found]

    def least_worthy(self) -> Iterator[Row]:
        """Those that may be evicted, the first one first."""
        query = "SELECT * FROM states WHERE pinned = 0 ORDER BY worth, used"
        return (_row(found) for found in self._db.execute(query))

    def unused_since(self, moment: float) -> list[Row]:
        query = "SELECT * FROM states WHERE used < ? AND pinned = 0 ORDER BY used"
        return [_row(found) for found in self._db.execute(query, (moment,))]


def _row(found: tuple[Any, ...]) -> Row:
    if not _are(found, TYPES):
        raise DamagedIndex("a row of wrong types")
    return checked(Row(*found))


def _are(found: tuple[Any, ...], types: tuple[Any, ...]) -> bool:
    """As many, too: what the index says of its columns can be damaged as well."""
    return len(found) == len(types) and all(map(isinstance, found, types))


def checked(row: Row) -> Row:
    """The row, if it can be one. Raises `DamagedIndex`."""
    if not (_SHA256.fullmatch(row.digest) and _SHA256.fullmatch(row.file)):
        raise DamagedIndex("a row whose file cannot be")
    return row


_SHA256 = re.compile("[0-9a-f]{64}")


def _statements(script: str) -> Iterator[str]:
    """One at a time: `executescript` would end the transaction."""
    part = ""
    for line in script.strip().splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            yield part
            part = ""
