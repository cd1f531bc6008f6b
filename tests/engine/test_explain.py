"""`explain`: which state every span takes, where it lies, and why one is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from pml import PromptCache
from pml.explain import explain
from pml.prompt import parse_turn
from pml.store import ModuleStore, open_store

SCHEMA = """<schema name="trip">
  <system>You plan travel by train, in the sun, for all of us who wait.
    <module name="rome">To Rome: the old streets.</module>
    <module name="goa">To Goa: the sea and the sun.</module>
    <module name="long">A long way, through <param name="where" len="6"/> in the rain.</module>
  </system>
  <scaffold modules="rome goa"/>
</schema>"""
BOTH = '<prompt schema="trip"><rome/><goa/><user>Where to?</user></prompt>'
GOA = '<prompt schema="trip"><goa/><user>Where to?</user></prompt>'
SWAPPED = '<prompt schema="trip"><goa/> or <rome/><user>Where to?</user></prompt>'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(write_checkpoint(tmp_path_factory.mktemp("explain") / "tiny"))


def opened(model: LoadedModel, schema: str = SCHEMA, **options: Any) -> PromptCache:
    cache = PromptCache(model, **options)
    cache.add_schema(schema)
    return cache


def stated(cache: PromptCache, prompt: str) -> dict[str, dict[str, Any]]:
    """By path the first span that is reused."""
    spans: Any = explain(cache, cache.plan(prompt))["spans"]
    return {span["path"]: span for span in reversed(spans) if span["kind"] == "cached"}


def test_a_miss_then_a_hit(model: LoadedModel) -> None:
    cache = opened(model)
    spans = stated(cache, GOA)
    assert {(s["state"], s["tier"], s["encode_s"], s["reason"]) for s in spans.values()} == {
        ("miss", None, None, "never encoded")
    }
    cache.prefill(GOA)
    spans = stated(cache, GOA)
    assert spans.keys() == {"/", "/goa"}
    for span in spans.values():
        assert (span["state"], span["tier"], span["reason"]) == ("hit", "memory", None)
        assert span["encode_s"] > 0
    assert sum(span["bytes"] for span in spans.values()) == cache.store.num_bytes


@pytest.mark.parametrize("attention", ["guaranteed", "isolated", "joint", "learned"])
def test_the_context_that_a_state_was_encoded_in(model: LoadedModel, attention: str) -> None:
    cache = opened(model, attention=attention)
    usual = "guaranteed" if attention == "learned" else attention
    assert {span["context_kind"] for span in stated(cache, GOA).values()} == {usual}
    kinds = {path: span["context_kind"] for path, span in stated(cache, BOTH).items()}
    richer = usual if attention == "joint" else "scaffold 1"
    assert kinds["/goa"] == richer
    cache.learn(cache.plan(GOA))
    again = stated(cache, GOA.replace("Where", "When"))
    assert again["/goa"]["context_kind"] in ("learned", usual)
    if attention == "learned":
        assert again["prompt"]["context_kind"] == "learned"
        assert again["prompt"]["state"] == "hit"
    else:
        assert "prompt" not in again


def test_the_states_of_a_chat_are_named_like_those_of_a_prompt(model: LoadedModel) -> None:
    """The schema says no layout, so its chats are packed and its prompts are not."""
    cache = opened(model)
    turn = parse_turn("<long where='Goa'/> <goa/><user>Where to?</user>", "trip")
    plan = cache.chat("trip").send(turn, max_tokens=1).plan
    assert plan.layout == "packed"
    spans: Any = explain(cache, plan)["spans"]
    found = {(s["path"], s["context_kind"]) for s in spans if s["kind"] == "cached"}
    assert found == {("/", "guaranteed"), ("/long", "guaranteed"), ("/goa", "guaranteed")}


def test_a_state_of_another_context_is_no_hit(model: LoadedModel) -> None:
    cache = opened(model)
    cache.prefill(GOA)
    spans = stated(cache, BOTH)
    assert spans["/goa"]["context_kind"] == "scaffold 1"
    assert (spans["/goa"]["state"], spans["/goa"]["reason"]) == (
        "miss",
        "stored as guaranteed only",
    )
    assert spans["/rome"]["reason"] == "never encoded"


def test_a_state_at_another_origin_is_no_hit(model: LoadedModel) -> None:
    store = ModuleStore()
    before = opened(model, attention="isolated", store=store)
    before.prefill(GOA)
    later = SCHEMA.replace("old streets", "old and very long streets")
    spans = stated(opened(model, later, attention="isolated", store=store), GOA)
    assert spans["/"]["state"] == "hit"
    (stored,) = (s.origin for s in before.plan(GOA).states if s.path == "/goa")
    assert spans["/goa"]["reason"] == f"stored for position {stored} only"


def test_where_a_state_lies_and_why_it_is_gone(model: LoadedModel, tmp_path: Path) -> None:
    opened(model, store=tmp_path).prefill(GOA)
    again = opened(model, store=tmp_path)
    assert stated(again, GOA)["/goa"]["tier"] == "disk"
    again.prefill(GOA)
    assert stated(again, GOA)["/goa"]["tier"] == "memory"
    rome = GOA.replace("goa", "rome")
    enough = opened(model)
    enough.prefill(rome)
    small = opened(model, store=open_store(memory=enough.store.num_bytes))
    small.prefill(GOA)
    small.prefill(rome)
    spans = stated(small, GOA)
    assert (spans["/goa"]["state"], spans["/goa"]["reason"]) == ("miss", "evicted")


def test_how_far_a_state_is_moved(model: LoadedModel) -> None:
    spans = stated(opened(model, layout="packed"), SWAPPED)
    first, goa, rome = (spans[path] for path in ("/", "/goa", "/rome"))
    assert (first["moved"], goa["moved"]) == (0, 0)
    assert goa["start"] == rome["start"] - rome["moved"] == first["length"]
    assert rome["moved"] > goa["length"]


def test_what_no_state_is_needed_for(model: LoadedModel) -> None:
    """A slot at the end of all that is cached: its placeholders are ghosts that nothing sees."""
    schema = (
        '<schema name="s">Go to <module name="m">Goa, <param name="p" len="4"/></module></schema>'
    )
    cache = opened(model, schema)
    spans: Any = explain(cache, cache.plan('<prompt schema="s"><m p="by sea"/></prompt>'))["spans"]
    (ghost,) = (span for span in spans if span["kind"] == "ghost")
    assert (ghost["state"], ghost["context_kind"]) == ("none", "guaranteed")
    fresh = [span for span in spans if span["kind"] == "fresh"]
    assert fresh and all(span["context_kind"] is None for span in fresh)
    for span in (ghost, *fresh):
        assert {span[key] for key in ("tier", "encode_s", "reason", "bytes")} == {None}
