"""How much memory loading takes, beside its limit of 1.25 times the weights in the dtype asked for.

    python scripts/loading_peak.py [--megabytes 500] [--dtypes float32-bfloat16 …]

A checkpoint of random weights is made for each stored dtype, and loaded in a process of its own
(`minillm bench`) in each of the target dtypes. Counted is how much that process grows until a first
token is computed, pages mapped from the file among it. Ends with 1 if a peak is above the limit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from minillm.config import ModelConfig
from minillm.config_file import CheckpointConfig, save_config
from minillm.families.llama import LlamaConfig, weights
from minillm.special_tokens import SpecialTokens, save_special_tokens
from minillm.weights_file import TensorSpec, write_weights

LIMIT = 1.25
PAIRS = ("float32-float32", "float32-bfloat16", "bfloat16-bfloat16", "bfloat16-float32")
HIDDEN, MLP, HEAD = 1024, 2816, 64
VOCABULARY = 16_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500, help="of the stored weights")
    parser.add_argument("--dtypes", nargs="+", default=PAIRS, metavar="STORED-TARGET")
    arguments = parser.parse_args()
    print("stored     target      weights     peak   of the weights   limit")
    highest = 0.0
    for pair in arguments.dtypes:
        stored, target = pair.split("-")
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), arguments.megabytes * 10**6, getattr(torch, stored))
            found = load_elsewhere(Path(folder), target)
        highest = max(highest, found["peak_of_weights"])
        size, peak = found["weight_bytes"] / 1e6, found["peak_bytes"] / 1e6
        ratio = f"{found['peak_of_weights']:>13.2f} {LIMIT:>10}"
        print(f"{stored:10} {target:10} {size:>5.0f} MB {peak:>5.0f} MB {ratio}", flush=True)
    return int(highest > LIMIT)


def write_checkpoint(folder: Path, num_bytes: int, dtype: torch.dtype) -> None:
    """A Llama of about so many bytes, random weights of one dtype, and bytes as its tokens."""
    layer_size = HIDDEN * (4 * HIDDEN + 3 * MLP)
    in_layers = num_bytes // dtype.itemsize - 2 * VOCABULARY * HIDDEN
    config = ModelConfig(
        family="llama",
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_layers=max(1, -(-in_layers // layer_size)),
        num_heads=HIDDEN // HEAD,
        num_kv_heads=HIDDEN // HEAD,
        head_dim=HEAD,
        max_positions=2048,
        norm_eps=1e-5,
        position_scheme="rope",
        tie_embeddings=False,
        family_config=LlamaConfig(),
        rotary_dim=HEAD,
    )
    specs = {name: TensorSpec(dtype, weight.shape) for name, weight in weights(config).items()}
    random = torch.Generator().manual_seed(0)

    def tensor(name: str) -> torch.Tensor:
        return (0.02 * torch.randn(specs[name].shape, generator=random)).to(dtype)

    sha256 = write_weights(folder / "model.safetensors", specs, tensor)
    save_config(CheckpointConfig(config, sha256, {"format": "random"}), folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: id for id, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    save_special_tokens(SpecialTokens(None, 256, frozenset({256})), {}, folder)


def load_elsewhere(folder: Path, dtype: str) -> dict[str, float]:
    """What `minillm bench` says of loading."""
    program = [sys.executable, "-c", "from minillm.cli import main; main()"]
    options = ["--length", "1", "--repeats", "1", "--dtype", dtype, "--device", "cpu", "--json"]
    done = subprocess.run(
        [*program, "bench", str(folder), *options], check=True, stdout=subprocess.PIPE
    )
    loading: dict[str, float] = json.loads(done.stdout)["loading"]
    return loading


if __name__ == "__main__":
    sys.exit(main())
