"""A trained header through the engine: part of every module, of full prefill never."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from strategies import ROTATIONS, ModelShape, hot_model
from tiny_model import write_checkpoint

from minillm import LoadedModel, load
from minillm.linear import Weights
from minillm.model import ForwardPlan, Run
from minillm.sampling import Sampling
from pml import PromptCache
from pml.adapt.adapter import headed, write_adapted
from pml.adapt.rows import rows
from pml.adapt.texts import Sample
from pml.adapt.training import Recipe, Trainer
from pml.compare import compare
from pml.eval.modes import mode
from pml.eval.question import Asker
from pml.eval.tasks import TASKS
from pml.recompute import NOTHING, Recompute
from pml.reference import full_prefill, oracle

SIZE = 3
SCHEMA = """<schema name="trip" layout="packed">You plan travel.
<module name="when">We go by train in June.</module><module name="rome">To Rome.</module>
<union><module name="goa">To Goa.</module><module name="none"/></union></schema>"""
PROMPT = '<prompt schema="trip"><when/><rome/><goa/> Where do we go?</prompt>'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and the same with a header."""
    base = write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny", max_positions=4096)
    header = torch.randn((2, SIZE, 2 * 2 * 8), generator=torch.Generator().manual_seed(1))
    write_adapted(base, base.with_name("headed"), {"header": header}, {})
    return base, base.with_name("headed")


@pytest.fixture(scope="module")
def base(folders: tuple[Path, Path]) -> LoadedModel:
    return load(folders[0], dtype=torch.float64)


@pytest.fixture(scope="module")
def model(folders: tuple[Path, Path]) -> LoadedModel:
    return load(folders[1], dtype=torch.float64)


def cache_of(model: LoadedModel, quality: str = "fast") -> PromptCache:
    cache = PromptCache(model, quality=quality)
    cache.add_schema(SCHEMA)
    return cache


def in_full(base: LoadedModel, prompt: str = PROMPT) -> torch.Tensor:
    """Full prefill's logits by the checkpoint without the header."""
    return full_prefill(base.transformer, cache_of(base).plan(prompt))


@pytest.mark.parametrize("quality", ["fast", "balanced", "exact"])
def test_every_quality_is_its_oracle_and_exact_knows_no_header(
    base: LoadedModel, model: LoadedModel, quality: str
) -> None:
    prefilled = cache_of(model, quality).prefill(PROMPT)
    expected = oracle(model.transformer, prefilled.plan)
    torch.testing.assert_close(prefilled.logits, expected, rtol=1e-9, atol=1e-9)
    away = float((prefilled.logits - in_full(base)).abs().max())
    assert away < 1e-9 if quality == "exact" else away > 0.1


def test_a_plan_says_by_itself_whether_it_is_full_prefill(
    base: LoadedModel, model: LoadedModel
) -> None:
    fast, exact = cache_of(model), cache_of(model, "exact")
    plan = fast.plan(PROMPT, recompute=Recompute(unseen=True))
    torch.testing.assert_close(fast.prefill(plan).logits, in_full(base), rtol=1e-9, atol=1e-9)
    assert exact.plan(PROMPT, recompute=NOTHING) == fast.plan(PROMPT)
    assert fast.full_plan(PROMPT).selected() == cache_of(base).plan(PROMPT).selected()
    fast.add_schema(SCHEMA.replace("Rome", "Rom"))
    assert fast.full_plan(PROMPT).selected() != cache_of(base).plan(PROMPT).selected()


def test_a_module_without_text_stays_nothing(model: LoadedModel) -> None:
    nothing, left_out = '<prompt schema="trip"><rome/><none/></prompt>', "<rome/>"
    cache = cache_of(model)
    plan = cache.plan(nothing)
    assert plan.selected() == cache.plan(f'<prompt schema="trip">{left_out}</prompt>').selected()
    assert plan.selected()[-1] not in model.tokenizer.header_ids


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(repetition_penalty=1.2),
        Sampling(presence_penalty=0.5, temperature=0.5, seed=1),
        Sampling(logit_bias={3: 1.0}),
    ],
)
def test_penalties_do_not_count_a_header(model: LoadedModel, sampling: Sampling) -> None:
    cache = cache_of(model)
    answer = cache.generate(PROMPT, sampling=sampling, max_tokens=4)
    (batched,) = cache.batch([PROMPT], sampling=sampling, max_tokens=4)
    assert batched.tokens == answer.tokens and len(answer.tokens) == 4
    assert not set(answer.tokens) & set(model.tokenizer.header_ids)
    assert cache.chat("trip").send("<when/> Go!", sampling=sampling, max_tokens=4).tokens


@pytest.mark.parametrize("weights", ["plain", "packed", "int8"])
def test_weights_may_lie_in_any_way(folders: tuple[Path, Path], weights: Weights) -> None:
    model = load(folders[1], weights=weights)
    prefilled = cache_of(model).prefill(PROMPT)
    expected = oracle(model.transformer, prefilled.plan)
    limit = 0.05 if weights == "int8" else 1e-4
    spread = float(expected.max() - expected.min())
    assert float((prefilled.logits - expected).abs().max()) < limit * spread


def test_selectors_take_text_and_count_only_that(model: LoadedModel) -> None:
    cache, header = cache_of(model), set(model.tokenizer.header_ids)
    before = cache.plan(PROMPT)
    own = sum(token not in header for span in before.reused for token in span.tokens)
    for recompute, count in {
        Recompute(first=2): 2 * 3,
        Recompute(read=0.5): round(0.5 * own),
        Recompute(deviating=0.5): round(0.5 * own),
        Recompute(attended=1.0): own - len(model.tokenizer.encode("You plan travel.\n")),
    }.items():
        plan = cache.plan(PROMPT, recompute=recompute)
        again = {p for span in plan.fresh for p in range(span.start, span.stop)}
        taken = [
            token
            for span in before.reused
            for position, token in enumerate(span.tokens, span.start)
            if position in again
        ]
        assert len(taken) == count and not header & set(taken), recompute


def test_full_prefill_is_measured_without_a_header(base: LoadedModel, model: LoadedModel) -> None:
    """By `pml compare` and by `pml eval`, which `pml gate` asks too."""
    (found,) = compare(cache_of(model), [PROMPT], repeats=1, max_tokens=4)
    (plain,) = compare(cache_of(base), [PROMPT], repeats=1, max_tokens=4)
    assert (found.full.tokens, found.full.answer) == (plain.full.tokens, plain.full.answer)
    task = TASKS["records"]
    item = task.items(None, None, 0, 1)[0]
    results = {r.mode: r for r in Asker(model, task, [mode("full"), mode("exact")]).ask(item)}
    assert results["exact"].kl < 1e-9 and results["exact"].agrees


@pytest.mark.parametrize("recipe", [Recipe(rank=2), Recipe(header=2)])
def test_a_checkpoint_with_a_header_can_be_trained_again(
    base: LoadedModel, folders: tuple[Path, Path], recipe: Recipe
) -> None:
    """Its teacher is the checkpoint without a header; an adapter leaves the header as it is."""
    model = load(folders[1], weights="plain")
    trainer = Trainer(model, (), recipe)
    assert ("header" in trainer.weights) == bool(recipe.header)
    trainer.run(lambda progress: progress.step == 1)
    sample = Sample("We go.\n", ("To the sea.\n",), ("Where? To",))
    full, _ = rows(sample, model, model.tokenizer)
    bare, _ = rows(sample, base, base.tokenizer)
    assert torch.equal(full.tokens, bare.tokens)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_header_is_at_first_what_its_tokens_are(rotation: str) -> None:
    """At position 0, where the states that it is made of are those of the tokens themselves."""
    model = hot_model(ModelShape(2, 2, 1, 6, True, False, "llama", 0, rotation))
    tokens = [5, 9, 7]
    student = headed(model, tokens)
    size, mask = model.config.vocab_size, torch.ones(3, 3, dtype=torch.bool).tril()
    found = []
    for transformer, ids in ((model, tokens), (student, [size, size + 1, size + 2])):
        cache = transformer.new_cache()
        plan = ForwardPlan([Run(cache, 3, mask)], [])
        transformer(torch.tensor(ids), torch.zeros(3, dtype=torch.long), plan)
        found.append([(cache.keys(layer), cache.values(layer)) for layer in range(2)])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_a_header_may_be_left_to_the_tokenizer_alone(model: LoadedModel) -> None:
    """Plans need no weights: `pml map` and the language server have none."""
    bare = replace(model, tokenizer=model.tokenizer.with_header(()))
    longer = cache_of(model).schemas["trip"].layout.length
    assert longer == cache_of(bare).schemas["trip"].layout.length + 3 * SIZE
