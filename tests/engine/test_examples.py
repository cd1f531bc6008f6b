"""The examples and the public reference schemas, run on the real model.

The model is SmolLM2-135M-Instruct in float32, converted by `make model`. Without it these tests
fail: they are what the project is for, and a skip would look like success.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minillm import LoadedModel, load
from pml import PromptCache
from pml.reference import oracle

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
REFERENCE = Path(__file__).parent.parent / "pml" / "data" / "reference_schemas"

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load(ROOT / "weights" / "smollm2-135m-instruct", dtype=torch.float32)


def distance(model: LoadedModel, cache: PromptCache, prompt: str) -> float:
    """The largest difference between engine and oracle, as a share of the logits' range."""
    prefilled = cache.prefill(prompt)
    expected = oracle(model.transformer, prefilled.plan)
    span = float(expected.max() - expected.min())
    return float((prefilled.logits - expected).abs().max()) / span


@pytest.mark.parametrize("attention", ["guaranteed", "isolated"])
@pytest.mark.parametrize("name", ["code-generation", "personalisation", "travel"])
def test_the_engine_equals_the_oracle_on_the_real_model(
    model: LoadedModel, name: str, attention: str
) -> None:
    cache = PromptCache(model, attention=attention)
    cache.add_schema(EXAMPLES / name / "schema.pml")
    prompt = (EXAMPLES / name / "prompt.pml").read_text()
    assert distance(model, cache, prompt) < 1e-4


def test_every_prompt_of_the_encyclopedia_reuses_4000_tokens_and_computes_40_at_most(
    model: LoadedModel,
) -> None:
    cache = PromptCache(model)
    cache.add_schema(EXAMPLES / "encyclopedia" / "schema.pml")
    prompts = sorted((EXAMPLES / "encyclopedia").glob("prompt-*.pml"))
    assert len(prompts) == 3
    for path in prompts:
        plan = cache.plan(path.read_text(), str(path))
        assert plan.num_cached >= 4000, path
        assert plan.num_fresh <= 40, path


REFERENCE_PROMPTS = {
    "code_generation_bookstore": (
        '<prompt schema="code-generation-bookstore"><book.py/>'
        "<user>Add a price filter.</user></prompt>"
    ),
    "parameterized_prompts": (
        '<prompt schema="travel"><travel-plan duration="5 days"><overseas><maldives/></overseas>'
        "</travel-plan><user>Plan it.</user></prompt>"
    ),
    "persona_generation": (
        '<prompt schema="persona"><age><child/></age><user>Introduce yourself.</user></prompt>'
    ),
    "personalization-education": (
        '<prompt schema="personalization-education"><elementary/>'
        "<user>What is a noun?</user></prompt>"
    ),
}


@pytest.mark.parametrize("name", REFERENCE_PROMPTS)
def test_a_public_example_schema_is_accepted_unchanged_and_runs(
    model: LoadedModel, name: str
) -> None:
    cache = PromptCache(model)
    cache.add_schema(REFERENCE / f"{name}.xml")
    prompt = REFERENCE_PROMPTS[name]
    completion = cache.generate(prompt, max_tokens=4)
    assert completion.usage.cached_tokens > 100
    assert len(completion.tokens) == 4
    assert distance(model, cache, prompt) < 1e-4
    assert cache.prefill(prompt).usage.encoded_tokens == 0
