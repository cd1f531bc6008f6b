"""Full prefill against `transformers`, on the same weights, in one process: part of `make parity`.

    python scripts/compare_prefill.py --model weights/smollm2-135m-instruct

Both run in bfloat16, alternating, as they normally do: ours into a warm buffer, `transformers` with
SDPA and a new `DynamicCache` each time; both give the logits of the last token only. Ends with
exit code 1 if ours takes longer. Run it alone: two jobs on the same cores slow one another many
times over.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from speed.twin import transformers_twin

from minillm import load
from minillm.generate import prefill

LIMIT = 1.0
"""The least ratio, theirs to ours."""


class Comparison:
    """Both models over the same tokens; `ours` and `theirs` give the last token's logits (V,)."""

    def __init__(self, folder: Path, num_tokens: int) -> None:
        self.model = load(folder, dtype=torch.bfloat16)
        self.twin = transformers_twin(folder, self.model)
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(self.model.config.vocab_size, (num_tokens,), generator=generator)
        self.tokens = self.ids.tolist()
        self.cache = self.model.transformer.new_cache(num_tokens)

    def ours(self) -> torch.Tensor:
        self.cache.clear()
        return prefill(self.model.transformer, self.cache, self.tokens, range(len(self.tokens)))

    @torch.inference_mode()
    def theirs(self) -> torch.Tensor:
        return self.twin(self.ids[None], use_cache=True, logits_to_keep=1).logits[0, -1]

    def measure(self, runs: int) -> tuple[float, float, float]:
        """Median seconds of ours and theirs after a warm-up, and the share of the cores' time
        that this process got: well below 1, the machine was busy with something else."""
        ours, theirs = self.ours(), self.theirs()
        difference = (ours.float() - theirs.float()).abs().max() / (theirs.max() - theirs.min())
        print(f"the two logits differ by {difference:.1%} of their range (bfloat16)")
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        wall, process = time.perf_counter(), time.process_time()
        for _ in range(runs):
            for name, run in (("ours", self.ours), ("theirs", self.theirs)):
                started = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - started)
        wall, process = time.perf_counter() - wall, time.process_time() - process
        share = process / wall / torch.get_num_threads()
        return statistics.median(times["ours"]), statistics.median(times["theirs"]), share


def main() -> None:
    parser = argparse.ArgumentParser(description="Full prefill against transformers.")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    comparison = Comparison(arguments.model, arguments.tokens)
    ours, theirs, share = comparison.measure(arguments.runs)
    ratio = theirs / ours
    verdict = "ok" if ratio >= LIMIT else "MISSED"
    tokens, threads = arguments.tokens, arguments.threads
    print(f"full prefill, {tokens:,} tokens, bfloat16, {threads} threads, {arguments.runs} runs")
    print(f"  transformers {theirs:7.3f} s\n  minillm      {ours:7.3f} s")
    print(f"  ratio        {ratio:7.2f}    limit {LIMIT:.1f}: {verdict}")
    print(f"  this process had {share:.0%} of its threads' time")
    sys.exit(0 if ratio >= LIMIT else 1)


if __name__ == "__main__":
    main()
