"""Comparisons with `transformers`, live: `make parity`, or `pytest tests/parity -m parity -s`.

Without `-m parity` the files here are not even imported, so the other tests need no transformers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from minillm import LoadedModel

WEIGHTS = Path(__file__).parents[2] / "weights"
os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported; all is on disk


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if "parity" in config.option.markexpr.replace("not parity", "") else True


@pytest.fixture(scope="session")
def folder() -> Path:
    """SmolLM2-135M-Instruct as `scripts/fetch_model.py` leaves it."""
    return WEIGHTS / "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def ours(folder: Path) -> LoadedModel:
    import torch

    from minillm import load

    return load(folder, dtype=torch.float32)


@pytest.fixture(scope="session")
def theirs() -> LlamaForCausalLM:
    import peer

    return peer.smollm2(WEIGHTS / "smollm2-135m-instruct.gguf")
