"""Drawing a token: greedy, temperature, top-k, top-p, seeds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minillm.sampling
from minillm.sampling import Sampler, Sampling, distribution

LOGITS = torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0])


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1, expected 0 or more"),
        ({"temperature": float("inf")}, "temperature is inf, expected 0 or more"),
        ({"temperature": float("nan")}, "temperature is nan, expected 0 or more"),
        ({"top_k": -1}, "top_k is -1, expected 0"),
        ({"top_p": 0.0}, "top_p is 0.0, expected more than 0"),
        ({"seed": -1}, "seed is -1, expected 0 or more and less than 2\\^63"),
        ({"seed": 2**63}, "seed is 9223372036854775808, expected"),
        ({"top_p": 1.1}, "top_p is 1.1, expected more than 0 and at most 1"),
        ({"min_p": -0.1}, "min_p is -0.1, expected 0 to 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0, expected more than 0"),
        ({"presence_penalty": 2.5}, "presence_penalty is 2.5, expected -2 to 2"),
        ({"frequency_penalty": float("nan")}, "frequency_penalty is nan, expected -2 to 2"),
        ({"logit_bias": {7: 101.0}}, "logit_bias of token 7 is 101.0, expected -100 to 100"),
    ],
)
def test_impossible_options_are_refused(sampling: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**sampling)


def test_greedy_takes_the_likeliest() -> None:
    assert Sampler(Sampling())(LOGITS) == 1


def test_the_same_seed_draws_the_same_tokens() -> None:
    def drawn(seed: int | None) -> list[int]:
        draw = Sampler(Sampling(temperature=2.0, seed=seed))
        return [draw(torch.zeros(1000)) for _ in range(20)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert drawn(None) != drawn(None)


def test_tokens_are_drawn_as_often_as_is_likely() -> None:
    draw = Sampler(Sampling(temperature=1.0, seed=0))
    counts = Counter(draw(LOGITS) for _ in range(4000))
    for token, probability in enumerate(LOGITS.softmax(dim=0).tolist()):
        assert counts[token] / 4000 == pytest.approx(probability, abs=0.03)


def test_top_k_and_top_p_cut_the_tail() -> None:
    draw = Sampler(Sampling(temperature=5.0, top_k=2, seed=0))
    assert {draw(LOGITS) for _ in range(200)} == {1, 3}
    assert Sampler(Sampling(temperature=5.0, top_k=1))(LOGITS) == 1
    assert Sampler(Sampling(temperature=5.0, top_p=1e-9))(LOGITS) == 1


def test_no_temperature_is_too_small() -> None:
    probabilities, ids = distribution(LOGITS * 1e4, Sampling(temperature=1e-30))
    assert (int(ids[0]), float(probabilities[0])) == (1, 1.0)


def test_min_p_keeps_what_is_likely_beside_the_likeliest() -> None:
    """LOGITS are 1, e^-1, e^-2, … times as likely as the likeliest."""
    for least, kept in ((0.0, 5), (0.1, 3), (0.3, 2), (0.4, 1), (1.0, 1)):
        probabilities, ids = distribution(LOGITS, Sampling(temperature=1.0, min_p=least))
        assert ids.tolist() == [1, 3, 2, 0, 4][:kept]
        assert float(probabilities.sum()) == pytest.approx(1)
    both = Sampling(temperature=1.0, min_p=0.1, top_p=0.7)
    assert distribution(LOGITS, both)[1].tolist() == [1, 3]
    assert distribution(LOGITS, Sampling(1.0, min_p=0.01, top_k=2))[1].tolist() == [1, 3]


def test_the_few_that_are_sorted_are_those_of_a_whole_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    for options in ({"top_p": 0.5}, {"top_p": 0.999}, {"top_p": 0.8, "min_p": 0.01}):
        found = []
        for likely in (500, 40):
            monkeypatch.setattr(minillm.sampling, "LIKELY", likely)
            found.append(distribution(logits, Sampling(1.0, **options)))
        (whole, all_ids), (few, ids) = found
        assert ids.tolist() == all_ids.tolist()
        assert torch.allclose(few, whole, rtol=1e-12, atol=0)


def test_what_was_said_is_said_less() -> None:
    """`repetition_penalty` counts the prompt too, the others the answer only."""
    greedy = Sampler(Sampling(repetition_penalty=4.0), prompt=[1])
    assert [greedy(LOGITS) for _ in range(4)] == [3, 2, 1, 1]
    below_zero = Sampler(Sampling(repetition_penalty=3.0), prompt=[0])
    assert below_zero(torch.tensor([-1.0, -2.0])) == 1
    assert [Sampler(Sampling(presence_penalty=1.5), [1])(LOGITS)] == [1]
    present = Sampler(Sampling(presence_penalty=1.5))
    assert [present(LOGITS) for _ in range(4)] == [1, 3, 1, 1]
    frequent = Sampler(Sampling(frequency_penalty=0.6))
    assert [frequent(LOGITS) for _ in range(5)] == [1, 1, 3, 1, 3]


def test_a_bias_forbids_and_forces() -> None:
    assert Sampler(Sampling(logit_bias={1: -100}))(LOGITS) == 3
    assert Sampler(Sampling(temperature=1.0, logit_bias={4: 100}))(LOGITS) == 4


def test_penalties_leave_the_logits_alone() -> None:
    logits = LOGITS.double()
    Sampler(Sampling(logit_bias={1: -100}, repetition_penalty=2.0), [3])(logits)
    assert torch.equal(logits, LOGITS.double())


@given(
    st.lists(st.integers(-80, 80), min_size=1, max_size=30),
    st.floats(0.05, 10),
    st.integers(0, 40),
    st.floats(0.01, 1),
)
def test_a_distribution_is_the_shortest_that_holds_top_p(
    quarters: list[int], temperature: float, top_k: int, top_p: float
) -> None:
    """Of the k likeliest tokens, the fewest that hold the share asked for, in their proportions."""
    logits, sampling = [q / 4 for q in quarters], Sampling(temperature, top_k, top_p)
    probabilities, ids = distribution(torch.tensor(logits, dtype=torch.float64), sampling)
    everything = (torch.tensor(logits, dtype=torch.float64) / temperature).softmax(dim=0)
    ranked = sorted(range(len(logits)), key=lambda i: -logits[i])[: top_k or None]
    among_k = everything[ranked] / everything[ranked].sum()
    kept = len(ids)

    assert ids.tolist() == ranked[:kept]
    assert float(probabilities.sum()) == pytest.approx(1)
    assert torch.allclose(probabilities, among_k[:kept] / among_k[:kept].sum())
    assert float(among_k[:kept].sum()) >= top_p - 1e-9
    assert kept == 1 or float(among_k[: kept - 1].sum()) < top_p + 1e-9
