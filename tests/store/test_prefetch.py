"""What is on its way before a prompt asks for it."""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import patch

import pytest
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from pml import PromptCache
from pml.store import ModuleStore, open_store
from pml.store.folder import StateFolder

SCHEMA = """<schema name="trip">You plan travel by train for all of us who wait.
  <union>
    <module name="rome">To Rome: the old streets.</module>
    <module name="goa">To Goa: the sea and the sun.</module>
  </union>
</schema>"""
ROME = '<prompt schema="trip"><rome/>When to go there by train?</prompt>'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(write_checkpoint(tmp_path_factory.mktemp("prefetch") / "tiny"))


def opened(model: LoadedModel, store: ModuleStore) -> PromptCache:
    cache = PromptCache(model, store=store)
    cache.add_schema(SCHEMA)
    return cache


@pytest.mark.parametrize(
    ("path", "before"), [("/", {"/", "/rome", "/goa"}), ("/rome", {"/rome"}), ("/rom", set())]
)
def test_members_of_a_union_are_read_before_a_prompt_asks(
    model: LoadedModel, tmp_path: Path, path: str, before: set[str]
) -> None:
    """And once only: what has come is taken."""
    first = opened(model, open_store(tmp_path))
    first.encode_schema("trip")
    first.store.close()
    cache = opened(model, open_store(tmp_path))
    with patch.object(StateFolder, "read", autospec=True, side_effect=StateFolder.read) as read:
        cache.prefetch("trip", path)
        while len(read.mock_calls) < len(before):
            time.sleep(0.001)
        assert {call.args[1].label for call in read.mock_calls} == before
        cache.prefill(ROME)
        cache.store.close()
    labels = sorted(call.args[1].label for call in read.mock_calls)
    assert labels == sorted(before | {"/", "/rome"})
    assert cache.store.counts().hits == {"disk": 2}
