"""The dial: `exact` is full prefill; and what the selectors of tokens to compute again select."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from minillm.generate import prefill
from minillm.model import ForwardPlan, Run
from pml import PromptCache
from pml.assembly import placed_segments
from pml.compare import FullPrefill
from pml.deviation import compared_layer, deviating
from pml.learned import content, unseen
from pml.measured import LAST
from pml.plan import PromptPlan
from pml.quality import QUALITIES
from pml.recompute import Recompute
from pml.reference import full_prefill, oracle

SCHEMA = """<schema name="trip" layout="packed">You plan travel.
<module name="when">We go by train in June, or by sea, for ten days.</module>
<module name="rome">To Rome: the old streets, the food, the sun in the sea.</module>
<module name="goa">To Goa: the sea and the sun.</module>{}</schema>"""
PROMPT = '<prompt schema="trip"><when/><rome/><goa/> Where do we go when it rains?</prompt>'
APART = '<prompt schema="trip"><goa/> And <when/> Where to?</prompt>'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny")
    return load(folder, dtype=torch.float64)


def cache_of(model: LoadedModel, scaffold: str = "", **options: object) -> PromptCache:
    cache = PromptCache(model, **options)  # type: ignore[arg-type]
    cache.add_schema(SCHEMA.format(scaffold))
    return cache


@pytest.mark.parametrize("prompt", [PROMPT, APART])
@pytest.mark.parametrize("scaffold", ["", '<scaffold modules="when rome goa"/>'])
def test_exact_answers_as_full_prefill(model: LoadedModel, prompt: str, scaffold: str) -> None:
    cache, full = cache_of(model, scaffold, quality="exact"), FullPrefill(model)
    prefilled = cache.prefill(prompt)
    expected = full.prefill(prefilled.plan)
    torch.testing.assert_close(prefilled.logits, expected, rtol=1e-9, atol=1e-9)
    answer = cache.generate(prompt, max_tokens=8)
    assert answer.tokens == full.answer(prefilled.plan, full.prefill(prefilled.plan), 8)


def test_exact_reuses_what_saw_the_whole_prompt_before_it(model: LoadedModel) -> None:
    count = len(model.tokenizer.encode("We go by train in June, or by sea, for ten days."))
    alone = cache_of(model, quality="exact").prefill(PROMPT).usage
    fast = cache_of(model).prefill(PROMPT).usage
    scaffolded = cache_of(model, '<scaffold modules="when rome goa"/>', quality="exact")
    assert count <= alone.cached_tokens < fast.cached_tokens
    assert alone.encoded_tokens == alone.cached_tokens  # and not what is computed again
    assert alone.recomputed_tokens == fast.cached_tokens - alone.cached_tokens
    assert scaffolded.prefill(PROMPT).usage == fast


def test_what_follows_a_filled_parameter_is_not_exact(model: LoadedModel) -> None:
    cache = PromptCache(model, layout="packed")
    cache.add_schema(
        '<schema name="s">We go to <param name="city" len="6"/> by train, by sea.</schema>'
    )
    plan = cache.plan('<prompt schema="s" city="Rome"> How long?</prompt>')
    behind = [span for span in plan.reused if span.start > 0]
    late = unseen(content(plan.placed, plan.texts))
    assert behind and {node.start for node in late} == {span.start for span in behind}


def weights_of(model: LoadedModel, plan: PromptPlan) -> torch.Tensor:
    """Of one plain forward under the prompt's mask: (layers, heads, tokens, tokens)."""
    mask = torch.from_numpy(plan.visibility())
    tokens, positions = torch.tensor(plan.tokens()), torch.tensor(plan.positions())
    weights: list[torch.Tensor] = []
    run = Run(model.transformer.new_cache(), len(tokens), mask)
    model.transformer(tokens, positions, ForwardPlan([run], [], explicit=True, weights=weights))
    return torch.stack(weights)


def test_attended_takes_the_modules_with_the_most_attention(model: LoadedModel) -> None:
    """Held against the weights of one plain forward under the prompt's mask."""
    cache = cache_of(model, recompute=Recompute(attended=0.1))
    plan = cache_of(model).plan(PROMPT)
    asked = min(LAST, plan.num_fresh)
    mass = weights_of(model, plan)[:, :, -asked:].mean(dim=(0, 1, 2))
    owners = [
        span.path if span.kind == "cached" else "" for span in plan.spans for _ in span.tokens
    ]
    means = {
        name: mass[[owner == name for owner in owners]].mean()
        for name in ("/when", "/rome", "/goa")
    }
    most = max(means, key=lambda name: float(means[name]))
    again = cache.plan(PROMPT)
    assert {node.state.path for node in again.recomputed} == {most}
    assert all(len(at) == len(node.tokens) for node, at in again.recomputed.items())
    assert again.num_recomputed == owners.count(most)


@pytest.mark.parametrize(
    "recompute", [*QUALITIES.values(), Recompute(attended=0.5, deviating=0.2, deviation="both")]
)
def test_every_dial_is_what_the_oracle_says(model: LoadedModel, recompute: Recompute) -> None:
    cache = cache_of(model, recompute=recompute)
    for prompt in (PROMPT, APART, PROMPT):
        prefilled = cache.prefill(prompt)
        expected = oracle(model.transformer, prefilled.plan)
        torch.testing.assert_close(prefilled.logits, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("selector, rows", [("read", 1), ("sought", LAST)])
def test_the_tokens_that_the_last_token_or_any_of_the_last_attends_to_most(
    model: LoadedModel, selector: str, rows: int
) -> None:
    """Held against the weights of one plain forward under the prompt's mask."""
    plan = cache_of(model).plan(PROMPT)
    asked = min(rows, plan.num_fresh)
    mass = weights_of(model, plan)[:, :, -asked:].mean(dim=(0, 1)).amax(dim=0)
    inside = [
        span.kind == "cached" and span.path != "/" for span in plan.spans for _ in span.tokens
    ]
    best = mass.masked_fill(~torch.tensor(inside), -1).argsort(descending=True)
    positions = torch.tensor(plan.positions())
    expected = set(positions[best[: round(0.2 * plan.num_cached)]].tolist())
    again = cache_of(model, recompute=Recompute(**{selector: 0.2})).plan(PROMPT)
    found = {node.start + at for node, offsets in again.recomputed.items() for at in offsets}
    assert found == expected and len(found) > 5


def test_all_attended_modules_are_all_modules(model: LoadedModel) -> None:
    plan = cache_of(model, recompute=Recompute(attended=1.0)).plan(PROMPT)
    assert {node.state.path for node in plan.recomputed} == {"/when", "/rome", "/goa"}
    assert {span.path for span in plan.reused} == {"/"}


@pytest.mark.parametrize("of", ["keys", "values", "both"])
def test_the_most_deviating_keys_and_values(model: LoadedModel, of: str) -> None:
    """Against those of a full prefill, read from the buffers as they are at their positions."""
    cache = cache_of(model)
    plan = cache.plan(PROMPT)
    segments, _ = cache.segments(plan.states)
    placed, true = model.transformer.new_cache(), model.transformer.new_cache()
    placed.bring(placed_segments(plan, segments), 0)
    full_prefill(model.transformer, plan, true, at_own_positions=True)
    rows = [true.positions.tolist().index(p) for p in placed.positions.tolist()]
    layer = compared_layer(model.config)
    pairs = {
        "keys": (placed.keys(layer), true.keys(layer)),
        "values": (placed.values(layer), true.values(layer)),
    }
    away = torch.zeros(len(rows), dtype=torch.float64)
    for name in pairs if of == "both" else [of]:
        stored, now = pairs[name]
        scale = now.square().sum(dim=(0, 2)).mean() if of == "both" else 1.0
        away += (stored - now[:, rows]).square().sum(dim=(0, 2)) / scale
    chosen = deviating(model.transformer, plan, segments, 0.3, of=of)  # type: ignore[arg-type]
    inside = torch.tensor([p in chosen for p in placed.positions.tolist()])
    assert len(chosen) == round(0.3 * len(rows))
    assert float(away[inside].min()) >= float(away[~inside].max()) * (1 - 0.05)


def test_a_chat_takes_the_dial_too(model: LoadedModel) -> None:
    """Under `exact` a turn answers as a full prefill of all that was said."""
    chat = cache_of(model, quality="exact").chat("trip")
    chat.send('<prompt schema="trip"><when/> Where?</prompt>', max_tokens=4)
    answer = chat.send('<prompt schema="trip"><rome/><goa/> And then?</prompt>', max_tokens=4)
    whole = chat.plan.selected()
    before = whole[: len(whole) - len(answer.tokens)]
    logits = prefill(model.transformer, model.transformer.new_cache(), before, range(len(before)))
    assert whole[len(before) :] == [*answer.tokens]
    assert int(logits.argmax()) == answer.tokens[0]


def test_an_unknown_quality_is_refused(model: LoadedModel) -> None:
    with pytest.raises(
        ValueError, match="quality is 'best', expected one of fast, balanced, exact"
    ):
        PromptCache(model, quality="best")
    with pytest.raises(ValueError, match=r"attended is 1\.5, expected a share from 0 to 1"):
        Recompute(attended=1.5)


def test_the_readable_attention_gives_its_weights(model: LoadedModel, tmp_path: Path) -> None:
    weights: list[torch.Tensor] = []
    run = Run(model.transformer.new_cache(), 5)
    plan = ForwardPlan([run], [], explicit=True, weights=weights)
    model.transformer(torch.arange(5), torch.arange(5), plan)
    shape = (model.config.num_heads, 5, 5)
    assert [tuple(each.shape) for each in weights] == [shape] * model.config.num_layers
    for each in weights:
        torch.testing.assert_close(each.sum(dim=-1), torch.ones(shape[:2], dtype=torch.float64))
        assert not each.triu(1).any()
