"""States in a folder that several processes share and that survives them: files beside an index."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pml.store.files import Files, name_of, stamp_of
from pml.store.form import Damaged, Native, checksum, dump, load, load_mapped
from pml.store.index import DamagedIndex, Index, Row, judged
from pml.store.keys import SegmentKey
from pml.store.policy import CostAware, Policy, Use
from pml.store.protocols import Codec, Held, Stored, StoreError, cost_of
from pml.store.recovery import open_index

log = logging.getLogger("pml")

MOST_NOTED = 256
"""Uses that are kept in memory until they are written to the index."""

Result = TypeVar("Result")
Found = tuple[Stored, Row] | Exception
"""A state that was read, and the row that it should have; or what is wrong with it."""


class StateFolder:
    """A file is written, then given its name, then put into the index: what `put` has acknowledged
    survives a kill and a power cut, and what it has not is never found.

    What is damaged is put into quarantine and is then not there; an index that is damaged or lost
    is made anew from the files. Raises `OSError` and `sqlite3.Error` where the disk is full or
    fails, and `StoreError` for a folder of something else.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        budget: int | None = None,
        policy: Policy | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.budget = budget
        self.evictions = self.damaged = 0
        self.files = Files(Path(path))
        self._codec: Codec = codec or Native()
        self._policy = policy or CostAware()
        self._uses: dict[SegmentKey, int] = {}
        self._is_suspect = self._is_sound = False
        self.index = self._open_index()

    @property
    def num_bytes(self) -> int:
        return self.asked(lambda: self.index.sums)[1]

    def find(self, key: SegmentKey) -> Row | None:
        return self.asked(lambda: self.index.find(key))

    def rows(
        self, prefix: str = "", after: tuple[str, int] | None = None, limit: int = -1
    ) -> list[Row]:
        """As `Index.rows`."""
        return self.asked(lambda: self.index.rows(prefix, after, limit))

    def origins(self, digest: str) -> list[int]:
        return self.asked(lambda: self.index.origins(digest))

    def read(self, row: Row) -> Found:
        """The state, mapped and checked; in any thread. To be taken afterwards."""
        try:
            checksum, stamp = self.files.check(row.file, row.checksum, row.stamp)
            stored = load_mapped(self.files.path(row.file), self._codec)
            if (stored.key.digest, stored.key.origin) != (row.digest, row.origin):
                raise Damaged(f"it holds {stored.key.name}")
        except (Damaged, OSError) as error:
            return error
        known = replace(stored, expires=row.expires, is_pinned=bool(row.pinned))
        return known, replace(row, checksum=checksum, stamp=stamp)

    def take(self, row: Row, found: Found) -> Stored | None:
        """A state that was read, unless it is damaged or missing."""
        if isinstance(found, Damaged | FileNotFoundError):
            self.asked(lambda: self._put_aside(row, found))
            if not self._is_suspect:  # damage seldom comes alone
                self._is_suspect = True
                self.asked(lambda: self.index.check())
            return None
        if isinstance(found, Exception):
            raise found
        stored, checked = found
        if checked != row:
            values = {"checksum": checked.checksum, "stamp": checked.stamp}
            self.asked(lambda: self.index.update(row.key, **values))
        self._uses[row.key] = self._uses.get(row.key, 0) + 1
        if len(self._uses) >= MOST_NOTED:
            self.note_uses()
        return stored

    def check(self, row: Row) -> bool:
        """Whether a file is what it was; a damaged one is put aside."""
        return self.take(row, self.read(row)) is not None

    def put(self, stored: Stored, is_held: Held) -> None:
        """In place of any other of its key; what must go is evicted."""
        if not self._is_sound:  # who writes into a damaged index loses what was acknowledged
            self._is_sound = True
            self.asked(lambda: self.index.check_quickly())
        self.asked(lambda: self._put(stored, is_held))

    def adopt(self, data: bytes) -> bool:
        """Take a state as another store has written it, unless there is one of its key; whether it
        is new here. Raises `StoreError`."""
        try:
            stored = load(data, self._codec)
        except Damaged as error:
            raise StoreError(f"no state: {error}") from None
        if self.find(stored.key) is not None:
            return False
        self.put(stored, lambda _: False)
        return True

    def remove(self, keys: Iterable[SegmentKey]) -> None:
        """At once: a write to the index waits for the disk."""
        self.asked(lambda: self._remove([*keys]))

    def pin(self, key: SegmentKey, is_pinned: bool) -> None:
        self.asked(lambda: self.index.update(key, pinned=int(is_pinned)))

    def close(self) -> None:
        try:
            self.note_uses()
        finally:
            self.index.close()

    def note_uses(self) -> None:
        """Write the uses since the last time to the index."""
        uses, self._uses = self._uses, {}
        if uses:
            self.asked(lambda: self._note(uses))

    def asked(self, question: Callable[[], Result]) -> Result:
        """The index, asked; if it is found damaged or gone, once more after it was mended."""
        if self.index.is_in_place():
            try:
                with judged():
                    return question()
            except DamagedIndex as error:
                log.warning("store: %s: %s; its index is made anew", self.files.folder, str(error))
        self.index.close()
        self.index = self._open_index(self.index.inode)
        return question()

    def _open_index(self, bad: int | None = None) -> Index:
        index, damaged = open_index(self.files, bad)
        self.damaged += damaged
        return index

    def _note(self, uses: dict[SegmentKey, int]) -> None:
        with self.index.writing():
            age = self.index.sums[2]
            for key, count in uses.items():
                if (row := self.index.find(key)) is not None:
                    row = replace(row, used=time.time(), uses=row.uses + count)
                    worth = self._worth(row, age)
                    self.index.update(key, used=row.used, uses=row.uses, worth=worth)

    def _put(self, stored: Stored, is_held: Held) -> None:
        data = dump(stored, self._codec)
        if self.budget is not None and len(data) > self.budget:
            log.warning("store: %s is larger than the disk's budget", stored.label)
            return
        name, new = name_of(data), self.files.write_new(data)
        try:
            with self.index.writing():
                old = self.index.find(stored.key)
                gone = self._make_room(len(data) - (old.num_bytes if old else 0), is_held)
                self.files.put_in_place(new, self.files.path(name))
                self.index.add(self._row(stored, name, data, old))
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        if self.index.find(stored.key) is None:
            raise DamagedIndex("a state that was put is not found")
        self._remove_files(gone + ([old] if old and old.file != name else []))

    def _row(self, stored: Stored, name: str, data: bytes, old: Row | None) -> Row:
        key, now = stored.key, time.time()
        row = Row(
            key.digest,
            key.origin,
            name,
            len(data),
            checksum(data),
            stamp_of(self.files.path(name)),
            stored.seconds,
            stored.label,
            stored.namespace,
            self._codec.name,
            created=now,
            expires=stored.expires,
            used=now,
            uses=1,
            worth=0.0,
            pinned=int(stored.is_pinned or (old is not None and old.pinned)),
        )
        return replace(row, worth=self._worth(row, self.index.sums[2]))

    def _worth(self, row: Row, age: float) -> float:
        seconds, tick = cost_of(row.seconds, row.num_bytes), int(row.used * 1e6)
        return self._policy.worth(Use(max(row.num_bytes, 1), seconds, row.uses, tick, age))

    def _make_room(self, num_bytes: int, is_held: Held) -> list[Row]:
        """Take what must go out of the index; the rows."""
        gone: list[Row] = []
        over = 0 if self.budget is None else self.index.sums[1] + num_bytes - self.budget
        for row in self.index.least_worthy() if over > 0 else ():
            if not is_held(row.key):
                gone.append(row)
                over -= row.num_bytes
                if over <= 0:
                    break
        if over > 0:
            raise OSError("what is pinned or in use leaves no room in the budget")
        for row in gone:
            self.index.remove(row.key)
            self.index.grow_old(row.worth)
        self.evictions += len(gone)
        return gone

    def _remove(self, keys: list[SegmentKey]) -> None:
        with self.index.writing():
            rows = [row for key in keys if (row := self.index.find(key)) is not None]
            for row in rows:
                self.index.remove(row.key)
        self._remove_files(rows)

    def _remove_files(self, rows: list[Row]) -> None:
        """Alone, as another process may have stored the very same again."""
        if rows:
            with self.index.writing():
                for row in rows:
                    if not self.index.has_file(row.file):
                        self.files.remove(row.file)

    def _put_aside(self, row: Row, error: Exception) -> None:
        """Unless another process has replaced or evicted it meanwhile, which is no damage."""
        with self.index.writing():
            now = self.index.find(row.key)
            if now is None or now.file != row.file:
                return
            self.index.remove(row.key)
            self.files.put_aside(row.file)
        self.damaged += 1
        log.warning("store: %s is damaged: %s; it is encoded anew", row.label, str(error))
