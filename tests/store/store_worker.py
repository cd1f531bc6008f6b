"""What a process does that uses a store, and is killed at it.

It writes a line for each state that it encodes, and for each that `put` has acknowledged: what it
has told before it was killed is what must be there afterwards.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import torch
from stored_states import key_of, same, segment_of

from pml.store import open_store

NUM_STATES = 60


def work(folder: Path, seed: int, count: int, log: Path) -> None:
    torch.set_num_threads(1)
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    random, store = Random(seed), open_store(folder, memory=2_000)
    for _ in range(count):
        number = random.randrange(NUM_STATES)
        key = key_of(number)
        if random.random() < 0.1:
            store.prefetch([key_of(random.randrange(NUM_STATES)) for _ in range(3)])
        found = store.get(key)
        while found is None:
            if store.claim(key):
                found = store.get(key)
                if found is None:
                    os.write(lines, f"encoding {number}\n".encode())
                    found = store.put(key, segment_of(key))
                    os.write(lines, f"stored {number}\n".encode())
                store.release(key)
            else:
                time.sleep(0.001)
                found = store.get(key)
        assert same(found, segment_of(key)), number
    assert store.counts().damaged == {"memory": 0, "disk": 0}
    store.close()
