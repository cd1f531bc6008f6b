"""The laws of the engine once more, with the models on a GPU, where there is one.

They are the same functions: what they compare lies where the model does, and the numbers that a law
makes itself (`test_laws_runtime.py` has such) would test nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import strategies
import test_laws_batch as batch
import test_laws_engine as engine
import test_laws_plan as plan
import test_laws_runtime as runtime
import torch

LAWS = (
    engine.test_law_01_engine_equals_oracle,
    engine.test_law_01_in_float32,
    engine.test_law_01_with_recomputed_tokens,
    engine.test_law_01_with_learned_contexts,
    engine.test_law_01_whatever_the_store_holds,
    engine.test_law_02_order_of_segments_changes_nothing,
    runtime.test_law_03_moved_as_a_whole,
    runtime.test_law_04_a_moved_state_is_the_state_encoded_there,
    runtime.test_law_05_chunks_of_an_engine,
    runtime.test_law_05_states_encoded_together_are_those_encoded_alone,
    engine.test_law_08_unselected_modules_change_nothing,
    batch.test_law_12_a_batch_is_its_prompts_one_by_one,
    engine.test_law_13_guaranteed_equals_full_prefill,
    engine.test_law_14_everything_recomputed_is_full_prefill,
    engine.test_law_14_a_scaffold_of_all_is_full_prefill,
    engine.test_law_15_warm_equals_cold,
    plan.test_the_choice_of_states_knows_nothing_of_the_store,
)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    monkeypatch.setattr(strategies, "DEVICE", torch.device("cuda"))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_on_a_gpu(law: Callable[[], None]) -> None:
    law()
