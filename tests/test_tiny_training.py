"""Training of the tiny checkpoints: what is drawn for it, and that it can be broken off."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny.facts import HEADS, NUMBERS, TAILS, is_held_out, samples
from tiny.rows import TEXT, batch, fact_row, missed, prompt
from tiny.shapes import SHAPES
from tiny.start import new_model
from tiny.training import Recipe, Trainer
from tiny.vocabulary import NAME, prose, write_tokenizer

from minillm.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return load_tokenizer(folder)


def trainer(tokenizer: Tokenizer) -> Trainer:
    recipe = Recipe(steps=8, rows=3, prose_rows=1, seed=7, modular=True, first_stage=2)
    model = new_model(SHAPES["tiny-llama"], tokenizer, 7)
    return Trainer(model, tokenizer, tokenizer.encode(prose())[:2000], recipe)


def test_training_broken_off_and_resumed_gives_the_same_weights(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    whole, first, second = (trainer(tokenizer) for _ in range(3))
    whole.run(lambda _: None)
    first.run(lambda _: None, until=3)
    first.save(tmp_path / "state.pt")
    second.resume(tmp_path / "state.pt")
    assert second.progress.step == 3
    second.run(lambda _: None)
    expected = whole.model.state_dict()
    for name, weight in second.model.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    untrained = new_model(whole.model.config, tokenizer, 7).state_dict()
    assert all(not torch.equal(weight, untrained[name]) for name, weight in expected.items())


def test_names_of_training_and_of_questions_are_never_the_same() -> None:
    trained, held_out = (
        {
            "".join(name)
            for sample in islice(samples(1, 4, held_out=held_out), 100)
            for text in (*sample.documents, *map(prompt, sample.questions))
            for name in NAME.findall(text)
        }
        for held_out in (False, True)
    )
    assert len(trained) > 1000 and not any(map(is_held_out, trained))
    assert len(held_out) > 500 and all(map(is_held_out, held_out))


def test_every_name_is_two_tokens_and_every_number_one(tokenizer: Tokenizer) -> None:
    names = {tuple(tokenizer.encode(f" {head}{tail}")) for head in HEADS for tail in TAILS}
    assert {len(name) for name in names} == {2}
    assert len(names) == len(HEADS) * len(TAILS)
    assert {len(tokenizer.encode(f" {number}")) for number in NUMBERS} == {1}


def test_only_two_documents_together_tell_a_linked_answer() -> None:
    for sample in islice(samples(2, 4, held_out=True), 50):
        for question in sample.questions:
            name = next(name for name in map("".join, NAME.findall(question.text)))
            told = [number for number, text in enumerate(sample.documents) if name in text]
            holds = [
                number for number, text in enumerate(sample.documents) if question.answer in text
            ]
            assert told == [question.needed[0]] and holds == [question.needed[-1]]
            assert len(question.needed) == (2 if question.kind == "linked" else 1)
            assert list(question.needed) == sorted(question.needed)


def test_a_question_sees_the_documents_and_no_other_question(tokenizer: Tokenizer) -> None:
    """Read back from the batch: what the answers' tokens see, decoded, is what a prompt holds."""
    sample = next(samples(5, 2))
    hidden = [
        question.needed[0] if question.kind == "linked" else None for question in sample.questions
    ]
    found = batch([fact_row(sample, tokenizer, [0, 4, 0, 0], [0] * 3, hidden)])
    places = found.places[found.marks > TEXT].view(-1, 3)
    for question, miss, (last, first, second) in zip(
        sample.questions, hidden, places.tolist(), strict=True
    ):
        documents = [text for number, text in enumerate(sample.documents) if number != miss]
        seen = found.tokens[0, found.sees[0, last]].tolist()
        assert tokenizer.decode(seen) == "".join((*documents, prompt(question)))
        assert tokenizer.decode(found.tokens[0, [first, second]].tolist()) == f" {question.answer}"


def test_only_linked_questions_whose_documents_saw_each_other_miss_one() -> None:
    sample, chance = next(samples(5, 2)), random.Random(3)
    together = [miss for _ in range(50) for miss in missed(chance, sample, [0, 0, 0])]
    assert 20 < sum(miss is not None for miss in together) < 80
    assert {*missed(chance, sample, [0, 1, 2])} == {None}


def test_documents_in_groups_of_their_own_do_not_see_one_another(tokenizer: Tokenizer) -> None:
    sample = next(samples(5, 2))
    nothing = [None] * len(sample.questions)
    found = batch([fact_row(sample, tokenizer, [0] * 4, [0, 1, 0], nothing)])
    end = 0
    for number, text in enumerate(sample.documents):
        end += len(tokenizer.encode(text))
        seen = tokenizer.decode(found.tokens[0, found.sees[0, end]].tolist())
        before = sample.documents[0] if number == 2 else ""
        assert seen == before + text
