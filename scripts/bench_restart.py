"""The first prompt after a restart: encoded anew, out of memory, out of the store on disk.

    python scripts/bench_restart.py [--model weights/smollm2-135m-instruct] [--repeats 5]

Time to first token, from the prompt's text to the first token's id, modules copied each time.
`disk` is a store opened afresh, its files in the page cache: each is mapped and its checksum
compared. The limit is twice what memory takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from minillm.console import amount, duration
from minillm.flags import load_model
from pml.engine import PromptCache

EXAMPLE = Path(__file__).parents[1] / "examples" / "encyclopedia"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("weights/smollm2-135m-instruct"))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    model = load_model(arguments.model, arguments.dtype, "cpu")
    prompt = min(EXAMPLE.glob("prompt-*.pml")).read_text()

    def first_token(cache: PromptCache) -> float:
        cache.forget_buffer()
        return cache.generate(prompt, max_tokens=1).timings.ttft

    def opened(folder: str) -> PromptCache:
        cache = PromptCache(model, store=folder)
        cache.add_schema(EXAMPLE / "schema.pml")
        return cache

    with tempfile.TemporaryDirectory() as folder:
        memory = opened(folder)
        cold = first_token(memory)
        size = memory.store.num_bytes
        kept, mapped = [], []
        for _ in range(arguments.repeats):
            kept.append(first_token(memory))
            restarted = opened(folder)
            restarted._buffer = memory._buffer  # warm in both, so that the store alone differs
            restarted.forget_buffer()
            mapped.append(first_token(restarted))
            assert restarted.store.misses == 0
            restarted.store.close()
            time.sleep(0.2)
    print(f"{prompt.count('<')} tags, {amount(size)} of states")
    print(f"{'cold encoding':<16}{duration(cold):>10}")
    print(f"{'memory':<16}{duration(median(kept)):>10}")
    ratio = median(mapped) / median(kept)
    print(f"{'disk':<16}{duration(median(mapped)):>10}   {ratio:.2f} x memory, limit 2 x")


if __name__ == "__main__":
    main()
