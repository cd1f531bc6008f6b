"""What one tenant has stored no other finds, on any tier; what is shared on purpose all do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from pml import PromptCache
from pml.store import ModuleStore, open_store

SCHEMA = """<schema name="trip">You plan travel by train for all of us who wait.
  <module name="rome">To Rome: the old streets.</module>
</schema>"""
PROMPT = '<prompt schema="trip"><rome/>When to go there by train?</prompt>'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(write_checkpoint(tmp_path_factory.mktemp("tenants") / "tiny"))


def encoded(model: LoadedModel, store: ModuleStore, tenant: str, *, shared: bool = False) -> int:
    """Tokens that a tenant's first prompt had to have encoded."""
    cache = PromptCache(model, store=store, namespace=tenant)
    cache.add_schema(SCHEMA, shared=shared)
    return cache.prefill(PROMPT).usage.encoded_tokens


@pytest.mark.parametrize("tier", ["memory", "disk"])
def test_a_tenant_finds_its_own_states_only(model: LoadedModel, tmp_path: Path, tier: str) -> None:
    store = open_store(tmp_path)
    first = encoded(model, store, "a")
    if tier == "disk":
        store.close()
        store = open_store(tmp_path)
    assert encoded(model, store, "b") == first > 0
    assert encoded(model, store, "") == first
    assert encoded(model, store, "a") == 0
    assert store.hits_by[tier] > 0


@pytest.mark.parametrize("tier", ["memory", "disk"])
def test_a_shared_schema_is_encoded_once(model: LoadedModel, tmp_path: Path, tier: str) -> None:
    store = open_store(tmp_path)
    assert encoded(model, store, "a", shared=True) > 0
    if tier == "disk":
        store.close()
        store = open_store(tmp_path)
    assert encoded(model, store, "b", shared=True) == 0
    assert encoded(model, store, "b") > 0


def test_what_a_tenant_said_stays_its_own_over_a_shared_schema(model: LoadedModel) -> None:
    store = open_store()
    used = []
    for tenant in ("a", "b", "a"):
        cache = PromptCache(model, store=store, namespace=tenant, attention="learned")
        cache.add_schema(SCHEMA, shared=True)
        used.append(cache.learn(cache.plan(PROMPT)).tokens)
    assert used[0] > 0 and used[1] > 0 and used[2] == 0
