"""What is trained: an adapter of the attention's matrices, or a header; and a checkpoint with it.

    adapter    y = W·x + up·down·x        down (R, in) and up (out, R), for qkv and output (LoRA,
                                          Hu et al. 2021)
    header     keys and values (L, n, 2K·D) of n tokens that stand before every module (prefix
                                          tuning, Li & Liang 2021, but for each module)

The student is the model with other linear layers around the same weights, or with a header beside
them. Merged into W, the adapter costs nothing; a header costs its slots and leaves W alone. Either
way the folder is a checkpoint like any other, with a hash of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from minillm.checkpoint import HEADER, WEIGHTS_FILE, check_header, header_ids
from minillm.config_file import CheckpointConfig, load_config, save_config
from minillm.errors import LoadError, shown
from minillm.model import ForwardPlan, Run, Transformer
from minillm.rope import rope_for
from minillm.special_tokens import add_header
from minillm.verify import record
from minillm.weights_file import TensorSpec, WeightsFile, open_weights, write_weights

ADAPTER_FILE = "adapter.safetensors"
ADAPTED = ("qkv", "output")

Adapter = Mapping[str, Tensor]
"""`blocks.3.attention.qkv.down` and so on."""


class Adapted(nn.Module):
    """`inner` plus a product of rank R, which is nothing at first."""

    def __init__(self, inner: nn.Linear, rank: int, random: torch.Generator) -> None:
        super().__init__()
        self.inner = inner
        first = torch.randn(rank, inner.in_features, generator=random) * inner.in_features**-0.5
        self.down = nn.Parameter(first.to(inner.weight))
        self.up = nn.Parameter(inner.weight.new_zeros(inner.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y + F.linear(F.linear(x, self.down), self.up)


def adapted(model: Transformer, rank: int, seed: int) -> Transformer:
    """A model of the same weights, shared, with an untrained adapter of its own."""
    shared = {id(weight): weight for weight in model.parameters()}
    student, random = deepcopy(model, shared), torch.Generator().manual_seed(seed)
    for block in student.blocks:
        attention = block.get_submodule("attention")
        for name in ADAPTED:
            inner = getattr(attention, name)
            setattr(attention, name, Adapted(inner, rank, random))
    return student


def headed(model: Transformer, tokens: Sequence[int]) -> Transformer:
    """A model of the same weights, shared, with a header that is at first what `tokens` would be,
    all of them at position 0."""
    size, config = len(tokens), model.config
    cache, mask = model.new_cache(), torch.ones(size, size, dtype=torch.bool).tril()
    plan = ForwardPlan([Run(cache, size, mask)], [])
    model(torch.tensor(tokens), torch.zeros(size, dtype=torch.long), plan)
    states = torch.stack(
        [torch.cat((cache.keys(layer), cache.values(layer))) for layer in range(config.num_layers)]
    ).clone()  # (L, 2K, n, D)
    if config.position_scheme == "rope":  # At position 0 keys are not turned, but scaled.
        scale = rope_for(config, model.device).scale
        states[:, : config.num_kv_heads, :, : config.rotary_dim] /= scale
    student = deepcopy(model, {id(weight): weight for weight in model.parameters()})
    student.header = nn.Parameter(states.transpose(1, 2).flatten(2))
    return student


def trained(student: Transformer) -> dict[str, nn.Parameter]:
    """The weights that training moves, and no others."""
    return {name: weight for name, weight in student.named_parameters() if weight.requires_grad}


def load_adapter(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights, and the facts that they were written with; raises `LoadError`."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            weights = {name: file.get_tensor(name) for name in [*file.keys()]}
    except (SafetensorError, OSError, ValueError) as error:
        raise LoadError(f"{path}: no adapter: {error}") from error
    if not isinstance(facts, dict) or not all(isinstance(fact, str) for fact in facts.values()):
        raise LoadError(f"{path}: no adapter: facts are {shown(facts)}, expected texts by name")
    return weights, facts


def write_adapted(base: Path, target: Path, adapter: Adapter, facts: Mapping[str, str]) -> None:
    """The checkpoint `base` with `adapter` merged into its weights, as the new folder `target`.

    Weights keep their dtype, and a header has that of the embedding. What was trained is kept
    beside them, in float16, and so are `facts`, which say where it came from. Raises `LoadError`;
    `target` is there as a whole afterwards, or not at all.
    """
    adapter = {name: weight.to(torch.float16) for name, weight in adapter.items()}
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        shutil.copytree(base, partial, ignore=_all_but_the_tokenizer)
        with open_weights(base / WEIGHTS_FILE) as file:
            stored = load_config(base)
            specs = {name: file.spec(name) for name in file.names}
            if HEADER in adapter:
                shape = tuple(adapter[HEADER].shape)
                check_header(shape, stored.model, base)
                specs[HEADER] = replace(specs["embedding.weight"], shape=shape)
                add_header(header_ids(stored.model, shape[1]), partial)
            _check(adapter, specs)
            sha256 = write_weights(
                partial / WEIGHTS_FILE, specs, lambda name: _merged(name, file, adapter)
            )
        save_config(CheckpointConfig(stored.model, sha256, {"format": "adapted", **facts}), partial)
        record(partial)
        save_file(adapter, partial / ADAPTER_FILE, metadata={"facts": json.dumps(dict(facts))})
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _all_but_the_tokenizer(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith(("tokenizer.", "roles."))}


def _check(adapter: Adapter, specs: Mapping[str, TensorSpec]) -> None:
    """Every weight but a header must be one of two whose product has the shape of a weight."""
    for name, part in adapter.items():
        if name == HEADER:
            continue
        place, _, kind = name.rpartition(".")
        spec, rank = specs.get(f"{place}.weight"), min(part.shape, default=0)
        pair = [adapter.get(f"{place}.{each}", part).shape for each in ("up", "down")]
        fits = spec is not None and pair == [(spec.shape[0], rank), (rank, *spec.shape[1:])]
        if not fits or kind not in ("up", "down"):
            raise LoadError(f"the adapter's {shown(name)} fits no weight of this model")


def _merged(name: str, file: WeightsFile, adapter: Adapter) -> Tensor:
    if name in adapter:  # the header, which is the only whole one
        return adapter[name].to(file.spec("embedding.weight").dtype)
    weight, place = file.tensor(name), name.removesuffix(".weight")
    if f"{place}.up" not in adapter:
        return weight
    up, down = (adapter[f"{place}.{part}"].double() for part in ("up", "down"))
    return (weight.double() + up @ down).to(weight.dtype)
