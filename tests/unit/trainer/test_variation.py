"""What is learnt from is varied, and stays what its caption says."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.variation import (
    LEAST_CONTRAST,
    MAX_SCALE,
    PRINTED,
    varied_digit,
    varied_photograph,
)


def disc(side: int, radius: float) -> np.ndarray:
    down, along = np.indices((side, side)) - (side - 1) / 2
    return np.clip(radius - np.hypot(down, along) + 0.5, 0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_digit_stays_where_it_is_and_about_as_large(seed: int) -> None:
    ink = disc(28, 8)
    moved = varied_digit(ink, np.random.default_rng(seed))
    assert moved.shape == ink.shape
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-6
    centre = [(np.indices(ink.shape)[axis] * moved).sum() / moved.sum() for axis in (0, 1)]
    np.testing.assert_allclose(centre, 13.5, atol=0.05)
    assert (1 - MAX_SCALE) ** 2 * 0.9 < moved.sum() / ink.sum() < (1 + MAX_SCALE) ** 2 * 1.2
    assert np.abs(moved - ink).max() > 0.01


def test_a_digit_is_turned_and_never_mirrored() -> None:
    ink = np.zeros((28, 28))
    ink[5:23, 13:15] = 1  # a stroke
    ink[5:7, 13:20] = 1  # and a bar at its top, to the right
    for seed in range(20):
        moved = varied_digit(ink, np.random.default_rng(seed))
        top, bottom = moved[:10], moved[18:]
        assert top.sum() > bottom.sum()
        assert top[:, 16:].sum() > top[:, :11].sum()


@pytest.mark.parametrize("seed", range(20))
def test_a_photograph_is_seen_from_a_side_with_some_contrast(seed: int) -> None:
    picture = np.random.default_rng(99).uniform(0.1, 0.9, (64, 64))
    generator = np.random.default_rng(seed)
    varied = varied_photograph(picture, 64, generator)
    assert varied.shape == picture.shape
    assert varied.min() >= 0
    assert varied.max() <= 1
    sides = [np.rot90(side, turns) for side in (picture, picture[:, ::-1]) for turns in range(4)]
    # The same numbers on a line, but where letters are printed over them.
    fits = [np.polyfit(side.ravel(), varied.ravel(), 1) for side in sides]
    left = [np.abs(np.polyval(fit, side) - varied) for fit, side in zip(fits, sides, strict=True)]
    best = int(np.argmin([np.median(each) for each in left]))
    assert np.median(left[best]) < np.median(left[best - 1]) / 2
    if left[best].max() < 1e-6:
        assert LEAST_CONTRAST <= abs(fits[best][0]) <= 1
    else:
        assert (left[best] > 0.01).mean() > 0.05


def test_a_share_of_the_photographs_has_print_on_it() -> None:
    generator = np.random.default_rng(0)
    blank = np.full((64, 64), 0.5)
    printed = [np.ptp(varied_photograph(blank, 64, generator)) > 0.01 for _ in range(400)]
    assert np.mean(printed) == pytest.approx(PRINTED, abs=0.07)


def test_a_large_photograph_is_seen_from_afar_too() -> None:
    # One bright pixel in three along and down: from afar they melt.
    photograph = np.zeros((192, 192))
    photograph[::3, ::3] = 1
    generator = np.random.default_rng(0)
    views = [varied_photograph(photograph, 64, generator) for _ in range(40)]
    assert all(view.shape == (64, 64) for view in views)
    spreads = [view.std() for view in views]
    assert max(spreads) > 2 * min(spreads)
