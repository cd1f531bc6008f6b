"""The published models behind `families_cases.py`: made, saved, and run on tokens at positions.

Nothing here runs `minillm`. Two things in the published code stand between it and a comparison
in float64 at any positions, and are replaced, each in one place:

- islands of float32 (`in_float64`): the same code runs with float64 wherever it says float32;
- ALiBi takes no positions: the bias is made by hand, slopes times the keys' positions.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from families_cases import Case
from families_golden import drawn
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)
from transformers.models.falcon import modeling_falcon
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

Steps = Sequence[tuple[int, int]]

CLASSES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "falcon": (FalconConfig, FalconForCausalLM),
    "mpt": (MptConfig, MptForCausalLM),
}


@contextmanager
def in_float64() -> Iterator[None]:
    """Where the code that runs in here says float32, it gets float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch, "float", torch.float64)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(default)


class Oracle:
    """The published model of a case. `make` builds it anew, without weights."""

    def __init__(self, case: Case) -> None:
        self.case = case
        model = self.make()
        for name, weight in model.named_parameters():
            weight.data = drawn(name, weight.shape)
        self.model = model.double().eval().requires_grad_(False)
        self.weights = dict(self.model.named_parameters())

    def make(self) -> nn.Module:
        fields = dict(self.case.config)
        config, model = CLASSES[fields.pop("model_type", self.case.family)]
        return model(config(**fields))

    def save(self, folder: Path, max_shard_size: str) -> None:
        """`save_pretrained`, as the publisher's users run it; then the case's spelling."""
        model: Any = self.model
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        path = folder / "config.json"
        config = self.case.spelling(json.loads(path.read_text()) | self.added)
        path.write_text(json.dumps(config))

    @property
    def added(self) -> dict[str, Any]:
        """Fields that the saving model does not know."""
        return {}

    def logits(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        steps: Steps,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Float64 logits (T, V) of tokens that see what `visible` (T, T) says, else one another by
        position, step by step over the model's own cache; with one step the positions may come in
        any order."""
        at = torch.tensor(positions)
        visible = at <= at[:, None] if visible is None else visible
        with in_float64():
            model = self.copy(torch.float64)
            cache, parts = None, []
            for start, stop in steps:
                ids = torch.tensor([tokens[start:stop]])
                with self.bias_by_hand(model, at[:stop]):
                    logits, cache = self.step(
                        model, ids, at[start:stop], visible[start:stop, :stop], cache
                    )
                parts.append(logits)
        return torch.cat(parts)

    def published(self, tokens: Sequence[int], steps: Steps) -> Tensor:
        """Float32 logits (T, V) at positions 0, 1, 2, …, of the model exactly as published."""
        model, cache, parts = self.copy(torch.float32), None, []
        for start, stop in steps:
            out = model(torch.tensor([tokens[start:stop]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            parts.append(out.logits[0])
        return torch.cat(parts)

    def copy(self, dtype: torch.dtype) -> Any:
        """A new model with these weights: dynamic RoPE remembers the longest text it has seen."""
        model = self.make().to(dtype)
        model.load_state_dict(self.model.state_dict())
        return model.eval().requires_grad_(False)

    def bias_by_hand(self, model: Any, keys: Tensor) -> AbstractContextManager[Any]:
        """ALiBi's bias for keys at the positions `keys` (S,)."""
        return nullcontext()

    @torch.inference_mode()
    def step(
        self, model: Any, ids: Tensor, positions: Tensor, visible: Tensor, cache: Any
    ) -> tuple[Tensor, Any]:
        out = model(
            ids,
            attention_mask=additive(visible),
            past_key_values=DynamicCache(config=model.config) if cache is None else cache,
            use_cache=True,
            **({"position_ids": positions[None]} if self.case.family != "mpt" else {}),
        )
        return out.logits[0], out.past_key_values


def additive(visible: Tensor) -> Tensor:
    """0, or the lowest number: bool 4-D masks fail in several places of `transformers`."""
    lowest = torch.finfo(torch.float64).min
    zeros = torch.zeros(visible.shape, dtype=torch.float64)
    return zeros.masked_fill_(~visible, lowest)[None, None]


class FalconOracle(Oracle):
    def bias_by_hand(self, model: Any, keys: Tensor) -> AbstractContextManager[Any]:
        heads = self.case.config["num_attention_heads"]
        # By the published function, whose own products are rounded to bfloat16.
        ones = modeling_falcon.build_alibi_tensor(torch.ones(1, 2), heads, torch.float64)[:, 0, 1]
        exact = slopes(heads)
        assert torch.equal(exact.bfloat16().double(), ones)
        return patched(
            modeling_falcon,
            "build_alibi_tensor",
            lambda *_, **__: (exact[:, None] * keys)[:, None],
        )


class MptOracle(Oracle):
    def bias_by_hand(self, model: Any, keys: Tensor) -> AbstractContextManager[Any]:
        ones = -build_mpt_alibi_tensor(self.case.config["n_heads"], 2)[:, 0, 0]
        return patched(
            model.transformer,
            "build_mpt_alibi_tensor",
            lambda *_, **__: (ones[:, None] * keys)[:, None],
        )


def slopes(heads: int) -> Tensor:
    """As in the paper: powers of 2^(-8/p), p the power of two below, then odd ones of 2^(-4/p)."""
    power = 2 ** math.floor(math.log2(heads))
    exponents = [-8 * i / power for i in range(1, power + 1)]
    exponents += [-4 * i / power for i in range(1, 2 * (heads - power), 2)]
    return torch.tensor([2**exponent for exponent in exponents], dtype=torch.float64)


def patched(home: Any, name: str, value: Callable[..., Tensor]) -> AbstractContextManager[Any]:
    context = pytest.MonkeyPatch.context()

    @contextmanager
    def during() -> Iterator[None]:
        with context as patch:
            patch.setattr(home, name, value)
            yield

    return during()


class Phi3Oracle(Oracle):
    """Llama with partial rotation. `transformers`' Llama cannot turn a part of its channels; Phi-3
    is the same model with fused matrices, and can."""

    def make(self) -> nn.Module:
        fields = {k: v for k, v in self.case.config.items() if k not in self.added}
        return LlamaForCausalLM(LlamaConfig(**fields))

    @property
    def added(self) -> dict[str, Any]:
        return {"partial_rotary_factor": self.case.config["partial_rotary_factor"]}

    def copy(self, dtype: torch.dtype) -> Any:
        config = Phi3Config(**self.case.config, pad_token_id=None, sliding_window=None)
        phi = Phi3ForCausalLM(config).to(dtype)
        llama = dict(self.model.state_dict())
        for layer in range(config.num_hidden_layers):
            attention = f"model.layers.{layer}.self_attn."
            mlp = f"model.layers.{layer}.mlp."
            parts = [llama.pop(f"{attention}{part}_proj.weight") for part in "qkv"]
            llama[f"{attention}qkv_proj.weight"] = torch.cat(parts)
            parts = [llama.pop(f"{mlp}{part}_proj.weight") for part in ("gate", "up")]
            llama[f"{mlp}gate_up_proj.weight"] = torch.cat(parts)
        phi.load_state_dict(llama)
        return phi.eval().requires_grad_(False)


class FoundryOracle(Oracle):
    """The MPT publisher's own code, out of the package llm-foundry.

    The package is installed without what it depends on. Of that, it takes einops and catalogue to
    run the model; the rest is for training, and stands here as empty modules.
    """

    def make(self) -> nn.Module:
        foundry = modeling_mpt()
        fields = copy.deepcopy(dict(self.case.config))
        fields["attn_config"]["attn_impl"] = "torch"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = foundry.MPTConfig(**fields, pad_token_id=None)
            model: Any = foundry.MPTForCausalLM(config)
        model._tied_weights_keys = {}  # a list, there, which save_pretrained no longer takes
        return model

    def bias_by_hand(self, model: Any, keys: Tensor) -> AbstractContextManager[Any]:
        self.keys = keys
        return nullcontext()

    @torch.inference_mode()
    def step(
        self, model: Any, ids: Tensor, positions: Tensor, visible: Tensor, cache: Any
    ) -> tuple[Tensor, Any]:
        config, bias = model.config, additive(visible)
        if config.attn_config["alibi"]:
            steep = config.attn_config["alibi_bias_max"]
            ones = modeling_mpt().gen_slopes(config.n_heads, steep, return_1d=True)
            bias = bias + (ones[:, None] * self.keys)[None, :, None]
        model.transformer.is_causal = False
        model.transformer._attn_bias_initialized = True
        model.transformer.attn_bias = bias
        out = model(ids, past_key_values=cache, position_ids=positions[None], use_cache=True)
        return out.logits[0], out.past_key_values


FOUNDRY = importlib.util.find_spec("llmfoundry")
"""Where llm-foundry is installed, if it is."""


def modeling_mpt() -> Any:
    """llm-foundry's model file. The package's own `__init__` would import all that trains."""
    if "llmfoundry.models.mpt.modeling_mpt" not in sys.modules:
        assert FOUNDRY is not None
        (root,) = FOUNDRY.submodule_search_locations or ()
        for name in ("", ".models", ".models.layers", ".models.mpt", ".models.utils", ".utils"):
            package = types.ModuleType(f"llmfoundry{name}")
            package.__path__ = [root + name.replace(".", "/")]
            sys.modules[package.__name__] = package
        absent = ["composer", "composer.models", "composer.utils", "tabulate"]
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in absent:
                patch.setitem(sys.modules, name, MagicMock(HuggingFaceModel=object))
            importlib.import_module("llmfoundry.models.mpt.modeling_mpt")
    return sys.modules["llmfoundry.models.mpt.modeling_mpt"]


def oracle_of(case: Case) -> Oracle:
    special: dict[str, type[Oracle]] = {"phi3": Phi3Oracle, "llm-foundry": FoundryOracle}
    families: dict[str, type[Oracle]] = {"falcon": FalconOracle, "mpt": MptOracle}
    kind = special.get(case.oracle) or families.get(case.family, Oracle)
    with in_float64():
        return kind(case)
