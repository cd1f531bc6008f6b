"""A peer in a process of its own: `python peer.py transformers|llama.cpp MODEL DTYPE THREADS`.

A line of standard input is a JSON list, a method's name and its arguments; the answer is a line
with the seconds that it took. The first one is {"tokens": […]}. The tokens are the same for all.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

STEPS = 8
"""Tokens that are decoded in a row: the first finds the threads asleep."""


class Peer(Protocol):
    tokens: list[int]

    def full(self, length: int) -> None:
        """A full prefill."""

    def fill(self, length: int) -> None:
        """Keep the states of the first tokens for what follows."""

    def kept(self, new: int) -> None:
        """So many tokens after a prefix that lies in the cache from the time before."""

    def restored(self, new: int) -> None:
        """The same after a prefix brought back from a copy."""

    def decode(self, length: int) -> None:
        """`STEPS` tokens one by one after `length` others, which `fill` has left there."""


class Transformers:
    """With SDPA; the copy of a prefix is that of its guide: `copy.deepcopy(cache)`."""

    def __init__(self, folder: str, dtype: str, threads: int) -> None:
        import torch
        from transformers import DynamicCache

        from minillm import load
        from speed.twin import transformers_twin

        torch.set_num_threads(threads)
        wanted = getattr(torch, dtype)
        loaded = load(folder, dtype=wanted, weights="plain")
        self.model, self.new_cache = transformers_twin(Path(folder), loaded), DynamicCache
        self.no_gradients = torch.inference_mode
        self.tensor: Callable[[list[int]], Any] = lambda ids: torch.tensor([ids])

    def run(self, cache: Any, start: int, stop: int) -> Any:
        with self.no_gradients():
            ids = self.tensor(self.tokens[start:stop])
            self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def crop(self, length: int) -> None:
        if beyond := self.cache.get_seq_length() - length:
            self.cache.crop(-beyond)

    def full(self, length: int) -> None:
        self.run(self.new_cache(), 0, length)

    def fill(self, length: int) -> None:
        self.cache, self.length = self.run(self.new_cache(), 0, length), length

    def kept(self, new: int) -> None:
        self.crop(self.length)
        self.run(self.cache, self.length, self.length + new)

    def restored(self, new: int) -> None:
        self.crop(self.length)
        self.run(copy.deepcopy(self.cache), self.length, self.length + new)

    def decode(self, length: int) -> None:
        self.crop(length)
        for place in range(length, length + STEPS):
            self.run(self.cache, place, place + 1)


class LlamaCpp:
    """A GGUF file of the same weights; flash attention, if it is the faster one here."""

    def __init__(self, file: str, dtype: str, threads: int) -> None:
        from llama_cpp import Llama

        flash = os.environ.get("PEER_FLASH") == "1"
        common = {"n_ctx": 8192, "n_batch": 512, "n_ubatch": 512, "verbose": False}
        both = {"n_threads": threads, "n_threads_batch": threads, "flash_attn": flash}
        self.model = Llama(file, **common, **both)

    def full(self, length: int) -> None:
        self.model.reset()
        self.model.eval(self.tokens[:length])

    def fill(self, length: int) -> None:
        self.full(length)
        self.length, self.state = length, self.model.save_state()

    def kept(self, new: int) -> None:
        self.model.n_tokens = self.length
        self.model.eval(self.tokens[self.length : self.length + new])

    def restored(self, new: int) -> None:
        self.model.load_state(self.state)
        self.model.eval(self.tokens[self.length : self.length + new])

    def decode(self, length: int) -> None:
        self.model.n_tokens = length
        for _ in range(STEPS):
            self.model.eval([7])


def main() -> None:
    name, model, dtype, threads = sys.argv[1:]
    kinds = {"transformers": Transformers, "llama.cpp": LlamaCpp}
    peer: Peer = kinds[name](model, dtype, int(threads))
    peer.tokens = json.loads(sys.stdin.readline())["tokens"]
    print("ready", flush=True)
    for line in sys.stdin:
        method, argument = json.loads(line)
        started = time.perf_counter()
        getattr(peer, method)(argument)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
