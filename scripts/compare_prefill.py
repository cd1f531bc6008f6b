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
from transformers import LlamaConfig, LlamaForCausalLM

from minillm import LoadedModel, load
from minillm.checkpoint import WEIGHTS_FILE
from minillm.families.llama import LlamaConfig as FamilyOptions
from minillm.families.llama import weights
from minillm.generate import prefill
from minillm.weights_file import open_weights

LIMIT = 1.0
"""The least ratio, theirs to ours."""


def transformers_twin(folder: Path, model: LoadedModel) -> LlamaForCausalLM:
    """The checkpoint in `folder` as a model of `transformers`, in the dtype of `model`."""
    config, options = model.config, model.config.family_config
    if not isinstance(options, FamilyOptions) or config.rope_scaling is not None:
        raise SystemExit(f"{folder}: only Llamas without RoPE scaling can be compared")
    with torch.device("meta"):
        twin = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_kv_heads,
                head_dim=config.head_dim,
                max_position_embeddings=config.max_positions,
                rms_norm_eps=config.norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
                tie_word_embeddings=config.tie_embeddings,
                attention_bias=options.attention_bias,
                mlp_bias=options.mlp_bias,
                attn_implementation="sdpa",
            )
        )
    shapes = {name: weight.shape for name, weight in twin.state_dict().items()}
    state = {}
    with open_weights(folder / WEIGHTS_FILE) as file:
        for name, weight in weights(config).items():
            rows = [shapes[source][0] for source in weight.sources]
            parts = file.tensor(name).to(model.transformer.dtype).split(rows)
            state |= dict(zip(weight.sources, (part.clone() for part in parts), strict=True))
    if config.tie_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    twin.load_state_dict(state, strict=True, assign=True)
    twin.tie_weights()
    twin.model.rotary_emb = type(twin.model.rotary_emb)(twin.config)  # its buffer is in no file
    return twin.eval().requires_grad_(False)


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
