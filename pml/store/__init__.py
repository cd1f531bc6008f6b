"""Where encoded states are kept: in memory, on disk, further away; within budgets, across restarts.

A state is stored once for each origin that it was encoded at, and a look-up asks for both: what
an answer's last bits are must never depend on which prompts came before.
"""

from __future__ import annotations

from pml.store.keys import SegmentKey, segment_key
from pml.store.module_store import Counts, ModuleStore
from pml.store.opening import open_store
from pml.store.protocols import StoreError, StoreFull

__all__ = [
    "Counts",
    "ModuleStore",
    "SegmentKey",
    "StoreError",
    "StoreFull",
    "open_store",
    "segment_key",
]
