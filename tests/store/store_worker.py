"""A process that uses a store, to be killed: `python store_worker.py DIR SEED COUNT`.

A line for each state that `put` has acknowledged, and for each that it encodes: what a process
that is killed has told is what must be there afterwards.
"""

from __future__ import annotations

import sys
import time
from random import Random

from stored_states import key_of, same, segment_of

from pml.store import open_store

NUM_STATES = 60


def main(folder: str, seed: int, count: int) -> None:
    random, store = Random(seed), open_store(folder, memory=2_000, disk=None)
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
                    print("encoding", number, flush=True)
                    found = store.put(key, segment_of(key))
                    print("stored", number, flush=True)
                store.release(key)
            else:
                time.sleep(0.001)
                found = store.get(key)
        assert same(found, segment_of(key)), number
    assert store.counts().damaged == {"memory": 0, "disk": 0}
    store.close()
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
