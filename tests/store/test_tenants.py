"""What one tenant has stored no other finds, on any tier; what is shared on purpose all do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_states import folder_in_memory
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
    """Tokens that a prompt of a tenant's has to have encoded."""
    cache = PromptCache(model, store=store, namespace=tenant)
    cache.add_schema(SCHEMA, shared=shared)
    return cache.encode(cache.plan(PROMPT)).tokens


def opened(folder: Path, tier: str, before: ModuleStore | None = None) -> ModuleStore:
    """A store that finds what was put `before` in this tier only."""
    if tier == "memory":
        return before or open_store()
    if before is not None:
        before.close()
    return open_store(folder) if tier == "disk" else open_store(remote=str(folder))


NAMES = st.text(max_size=12)
ALIKE = (str.upper, str.strip, lambda name: name + "\0", lambda name: name * 2, lambda name: "")
PAIRS = st.tuples(NAMES, NAMES) | st.builds(
    lambda name, change: (name, change(name)), NAMES, st.sampled_from(ALIKE)
)


@pytest.mark.parametrize("tier", ["memory", "disk", "remote"])
@given(pair=PAIRS.filter(lambda pair: pair[0] != pair[1]))
def test_a_tenant_finds_its_own_states_only(
    model: LoadedModel, tier: str, pair: tuple[str, str]
) -> None:
    """Catches a tier that drops the namespace, and names that run together in a key."""
    one, other = pair
    with folder_in_memory() as folder:
        store = opened(folder, tier)
        first = encoded(model, store, one)
        store = opened(folder, tier, store)
        hits = store.hits
        assert encoded(model, store, other) == first > 0
        assert store.hits == hits
        store = opened(folder, tier, store)
        assert encoded(model, store, one) == encoded(model, store, other) == 0
        assert store.hits_by[tier] > 0
        store.close()


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
