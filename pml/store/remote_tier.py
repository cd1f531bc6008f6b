"""The tier that is furthest away: states as files of a remote, each sealed with its own hash."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator

from pml.store.form import Damaged, Native, dump, load
from pml.store.keys import SegmentKey
from pml.store.protocols import About, Codec, Held, Reading, Stored
from pml.store.remote import Remote

log = logging.getLogger("pml")

MARK = b"pml state 1\n"
SEALED = len(MARK) + hashlib.sha256().digest_size
LIMIT = 4 << 30
"""Bytes of the largest state that is read."""


class RemoteTier:
    """Shared by many machines, and budgeted by whoever keeps it: nothing is evicted or pinned from
    here. A file holds a mark, the sha256 of the rest, and what a file of the disk tier holds.

    What is missing, damaged, too large or not to be had in time is not there: the state is encoded
    anew, and put over what was damaged. Whoever can write to the remote is trusted: the hash tells
    accidents, not forgeries.
    """

    name = "remote"
    lasts = True
    budget = None
    evictions = 0
    num_bytes = 0

    def __init__(self, remote: Remote, *, codec: Codec | None = None) -> None:
        self.damaged = 0
        self.remote = remote
        self._codec: Codec = codec or Native()

    @property
    def failures(self) -> int:
        return self.remote.failures

    def about(self, key: SegmentKey) -> About | None:
        size = self.remote.size(_name(key))
        return None if size is None else About(size, None, None)

    def get(self, key: SegmentKey) -> Stored | None:
        return self.reading(key)()()

    def reading(self, key: SegmentKey) -> Reading:
        def read() -> Callable[[], Stored | None]:
            data = self.remote.read(_name(key), LIMIT)
            return lambda: None if data is None else self._opened(key, data)

        return read

    def put(self, stored: Stored, is_held: Held) -> list[Stored]:
        data = dump(stored, self._codec)
        self.remote.write(_name(stored.key), MARK + hashlib.sha256(data).digest() + data)
        return []

    def remove(self, key: SegmentKey) -> None:
        self.remote.remove(_name(key))

    def pin(self, key: SegmentKey, is_pinned: bool) -> None:
        """Not from here."""

    def __iter__(self) -> Iterator[SegmentKey]:
        """Nothing: all files would have to be listed."""
        return iter(())

    def origins(self, digest: str) -> list[int]:
        """None, for the same reason."""
        return []

    def close(self) -> None:
        """Nothing is open."""

    def _opened(self, key: SegmentKey, data: bytes) -> Stored | None:
        try:
            stored = load(_unsealed(data), self._codec)
            if stored.key != key:
                raise Damaged(f"it holds {stored.key.name}")
        except Damaged as error:
            self.damaged += 1
            log.warning("remote store: %s is damaged: %s; it is encoded anew", key.name, error)
            return None
        return stored


def _name(key: SegmentKey) -> str:
    return f"{key.name[:2]}/{key.name}"


def _unsealed(data: bytes) -> bytes:
    seal, rest = data[:SEALED], data[SEALED:]
    if seal != MARK + hashlib.sha256(rest).digest():
        raise Damaged("its bytes are not those that were written")
    return rest
