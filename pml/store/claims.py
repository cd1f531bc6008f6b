"""Who is encoding what: a lock for each state, among the processes that share a folder.

All locks lie in one file, a byte each at a place that the state's digest gives. They belong to a
process, which the system takes them from when it ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pml.store.keys import SegmentKey


class Claims:
    """Not among the threads or stores of one process, which take turns anyway."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def claim(self, key: SegmentKey) -> bool:
        """Whether this process may encode it; else another one is about to. Does not wait."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except BlockingIOError:
            return False
        return True

    def release(self, key: SegmentKey) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(key))

    def close(self) -> None:
        os.close(self._file)


def _place(key: SegmentKey) -> int:
    return (int(key.digest[:15], 16) + key.origin) % (1 << 60)
