"""What the machine can do, and what this runtime makes of it: `make bench`.

    python scripts/bench.py --model weights/smollm2-135m-instruct [--dtype bfloat16] [--repeats 7]

Full prefill, decode, and the time to the first token with N tokens reused and n computed, each as
a median after a warm-up, beside the limit max(bytes / bandwidth, operations / throughput), where
bandwidth and throughput are measured in the same run. Run it alone: two jobs on the same cores
slow one another many times over.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import torch

from minillm import LoadedModel, load
from minillm.bench import Bench, median
from minillm.families import num_parameters
from minillm.generate import prefill
from minillm.kv import Placed

FULL = (256, 1024, 4096)
DECODE_AT = (256, 4000)
REUSE = ((1000, 32), (4000, 8), (4000, 32), (4000, 128), (8000, 32))
MODULES = 5


class Limits:
    """The machine's read bandwidth and matrix throughput, and what a forward needs of them."""

    def __init__(self, model: LoadedModel, repeats: int) -> None:
        dtype = model.transformer.dtype
        self.config, self.bytes_per_number = model.config, dtype.itemsize
        self.weights = num_parameters(model.config)
        self.embedding = model.config.vocab_size * model.config.hidden_size
        block = torch.randn(64 << 20)  # 256 MiB, far larger than any cache
        self.bandwidth = block.numel() * 4 / median(block.sum, repeats)
        a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
        self.throughput = 2 * 2048**3 / median(lambda: a @ b, repeats)

    def seconds(self, cached: int, new: int) -> float:
        """The least time that `new` tokens after `cached` ones can take on this machine."""
        c = self.config
        # Two operations per weight and token; the output layer for one token only.
        linear = 2 * ((self.weights - self.embedding) * new + self.embedding)
        # Scores and weighted sum: four per pair, channel and layer, over the mean of the keys.
        pairs = new * (cached + (new + 1) / 2)
        attention = 4 * pairs * c.num_heads * c.head_dim * c.num_layers
        read = self.weights * self.bytes_per_number
        read += (cached + new) * c.kv_bytes_per_token(self.bytes_per_number)
        return max((linear + attention) / self.throughput, read / self.bandwidth)


class ReuseBench(Bench):
    """Prefill and decode, and the time to the first token where modules are reused."""

    def full(self, length: int) -> float:
        """Seconds of a full prefill; fewer of those that take many of them."""
        repeats = self.repeats if length < 4000 else max(3, self.repeats // 2)
        return median(lambda: self.fill(length), repeats)

    def reuse(self, cached: int, new: int) -> tuple[float, float]:
        """Seconds to the first token: modules copied anew, and modules kept in the buffer."""
        self.fill(cached)
        edges = [cached * part // MODULES for part in range(MODULES + 1)]
        segments = [self.cache.segment(a, b) for a, b in pairwise(edges)]
        placed = [Placed(segment, segment.origin) for segment in segments]
        tokens, positions = self.tokens[:new], range(cached, cached + new)

        def kept() -> None:
            self.cache.bring(placed)
            prefill(self.model, self.cache, tokens, positions)

        def copied() -> None:
            self.cache.clear()
            kept()

        return median(copied, 3 * self.repeats), median(kept, 3 * self.repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="weights/smollm2-135m-instruct")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    model = load(arguments.model, dtype=getattr(torch, arguments.dtype))
    bench = ReuseBench(model.transformer, model.config.max_positions - 1, arguments.repeats)
    limits = Limits(model, arguments.repeats)
    print(f"{model.name}, {arguments.dtype}, {torch.get_num_threads()} threads")
    print(
        f"machine: reads {limits.bandwidth / 1e9:.0f} GB/s, multiplies matrices at "
        f"{limits.throughput / 1e9:.0f} GFLOP/s\n"
    )
    print("full prefill        seconds    limit  tokens/s")
    full = {}
    for length in FULL:
        full[length] = seconds = bench.full(length)
        limit = limits.seconds(0, length)
        print(f"{length:>12,} {seconds:>14.3f} {limit:>8.3f} {length / seconds:>9.0f}")
    print("\ndecode         tokens/s    limit")
    for length in DECODE_AT:
        limit = limits.seconds(length, 1)
        print(f"{length:>12,} {1 / bench.decode(length):>10.1f} {1 / limit:>8.1f}")
    print(f"\nreuse: ttft in ms, {MODULES} modules      copied    kept   limit   full/copied")
    for cached, new in REUSE:
        copied, kept = bench.reuse(cached, new)
        limit, whole = limits.seconds(cached, new), bench.full(cached + new)
        print(
            f"{cached:>12,} + {new:<4} {copied * 1e3:>20.1f} {kept * 1e3:>7.1f} "
            f"{limit * 1e3:>7.1f} {whole / copied:>12.1f}"
        )


if __name__ == "__main__":
    main()
