"""Tokens are drawn as the definition says, each row by its own chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.generation.sampling import Chance, Choices, Sampling, log_probabilities

settings_of_a_row = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.1, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 100]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
)
# Whole numbers: equal logits happen, and sums are the same in any order.
logits_of_a_row = st.lists(st.integers(-6, 6), min_size=7, max_size=7)
rows = st.lists(
    st.tuples(settings_of_a_row, logits_of_a_row, st.floats(0, 1, exclude_max=True)),
    min_size=1,
    max_size=4,
)


def candidates(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The probabilities that a token is drawn with, by the definition."""
    scaled = logits.astype(np.float64) / sampling.temperature
    if sampling.top_k:
        kept = np.sort(scaled)[::-1][: sampling.top_k].min()
        scaled = np.where(scaled >= kept, scaled, -np.inf)
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    if sampling.top_p < 1:
        ordered = np.sort(p)[::-1]
        count = 1 + int(np.sum(np.cumsum(ordered)[:-1] < sampling.top_p - 1e-12))
        p = np.where(p >= ordered[count - 1], p, 0)
    return p / p.sum()


@settings(max_examples=50, deadline=None)
@given(rows)
def test_a_token_is_one_of_the_candidates_and_the_one_the_number_falls_on(given_rows):
    samplings, logits, numbers = zip(*given_rows, strict=True)
    stacked = np.array(logits, np.float32)
    tokens, _ = Choices(list(samplings)).choose(stacked, list(numbers))
    for token, sampling, row, number in zip(tokens, samplings, stacked, numbers, strict=True):
        if not sampling.temperature:
            assert token == row.argmax()
            continue
        p = candidates(row, sampling)
        assert p[token] > 0
        before = p[:token].sum()
        assert before - 1e-9 <= number <= before + p[token] + 1e-9


@settings(max_examples=50, deadline=None)
@given(rows)
def test_a_row_does_not_depend_on_its_company(given_rows):
    samplings, logits, numbers = zip(*given_rows, strict=True)
    stacked = np.array(logits, np.float32)
    tokens, told = Choices(list(samplings)).choose(stacked, list(numbers))
    for i, sampling in enumerate(samplings):
        alone, told_alone = Choices([sampling]).choose(stacked[i : i + 1], [numbers[i]])
        assert (alone[0], told_alone[0]) == (tokens[i], told[i])


@pytest.mark.parametrize(
    "sampling",
    [Sampling(0.7), Sampling(1.5, top_k=3), Sampling(1.0, top_p=0.6), Sampling(2.0, 6, 0.8)],
)
def test_what_is_drawn_often_has_the_frequencies_of_the_probabilities(sampling):
    logits = np.array([2.0, 0.5, 1.5, -1.0, 0.0, 1.0, -3.0, 1.4], np.float32)
    count, chance = 20_000, Chance(0)
    tokens, _ = Choices([sampling] * count).choose(
        np.tile(logits, (count, 1)), [chance.draw() for _ in range(count)]
    )
    expected = candidates(logits, sampling) * count
    found = np.bincount(tokens, minlength=len(logits))
    assert not found[expected == 0].any()
    kept = expected > 0
    chi_square = ((found - expected)[kept] ** 2 / expected[kept]).sum()
    assert chi_square < 30  # 99.99 % of 8 degrees of freedom


def test_one_seed_gives_one_stream_of_chance_and_none_another_each_time():
    draws = [[chance.draw() for _ in range(200)] for chance in (Chance(5), Chance(5), Chance(6))]
    assert draws[0] == draws[1] != draws[2]
    assert Chance(None).draw() != Chance(None).draw()
    assert all(0 <= number < 1 for number in draws[0])


def test_log_probabilities_of_large_logits_are_finite():
    logits = np.array([[1e4, 0, -1e4], [-np.inf, 3, 3]], np.float32)
    found = log_probabilities(logits, np.array([1, 2]))
    np.testing.assert_allclose(found, [-1e4, -np.log(2)], rtol=1e-6)


def test_the_least_temperature_is_as_cold_as_none():
    logits = np.array([[1.0, 3.0, 2.0]], np.float32)
    for temperature in (0.0, 5e-324, 1e-308, 1e-4):
        tokens, _ = Choices([Sampling(temperature=temperature)]).choose(logits, [0.9])
        assert tokens.tolist() == [1]
