"""The tier on disk: a folder of states, from which nothing that goes wrong reaches a request."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pml.store.folder import StateFolder
from pml.store.index import Row
from pml.store.keys import SegmentKey
from pml.store.policy import Policy
from pml.store.protocols import About, Codec, Held, Reading, Stored

log = logging.getLogger("pml")

Result = TypeVar("Result")


class DiskTier:
    """A full or failing disk is no error, once the folder is open: what it does not take is not
    kept, what it does not give is not there. That is logged, and counted in `failures`."""

    name = "disk"
    lasts = True

    def __init__(
        self,
        folder: Path | str,
        *,
        budget: int | None = None,
        policy: Policy | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.budget, self.failures = budget, 0
        self.folder = StateFolder(folder, budget=budget, policy=policy, codec=codec)

    @property
    def num_bytes(self) -> int:
        return self._tried(lambda: self.folder.num_bytes, 0)

    @property
    def evictions(self) -> int:
        return self.folder.evictions

    @property
    def damaged(self) -> int:
        return self.folder.damaged

    def about(self, key: SegmentKey) -> About | None:
        row = self._tried(lambda: self.folder.find(key), None)
        if row is None:
            return None
        return About(row.num_bytes, row.seconds, row.expires, bool(row.pinned))

    def get(self, key: SegmentKey) -> Stored | None:
        reading = self.reading(key)
        return reading and reading()()

    def reading(self, key: SegmentKey) -> Reading | None:
        row = self._tried(lambda: self.folder.find(key), None)
        if row is None:
            return None

        def read() -> Callable[[], Stored | None]:
            found = self.folder.read(row)
            return lambda: self._tried(lambda: self.folder.take(row, found), None)

        return read

    def put(self, stored: Stored, is_held: Held) -> list[Stored]:
        self._tried(lambda: self.folder.put(stored, is_held), None)
        return []

    def remove(self, key: SegmentKey) -> None:
        if self.about(key) is not None:
            self._tried(lambda: self.folder.remove([key]), None)

    def __iter__(self) -> Iterator[SegmentKey]:
        rows: list[Row] = self._tried(lambda: self.folder.rows(), [])
        return iter([row.key for row in rows])

    def origins(self, digest: str) -> list[int]:
        return self._tried(lambda: self.folder.origins(digest), [])

    def pin(self, key: SegmentKey, is_pinned: bool) -> None:
        self._tried(lambda: self.folder.pin(key, is_pinned), None)

    def close(self) -> None:
        self._tried(self.folder.close, None)

    def _tried(self, work: Callable[[], Result], otherwise: Result) -> Result:
        try:
            return work()
        except (OSError, sqlite3.Error) as error:
            self.failures += 1
            # Its words only: who keeps an error keeps its frames, and the states in them in use.
            log.warning("store: %s: %s", self.folder.files.folder, str(error))
            return otherwise
