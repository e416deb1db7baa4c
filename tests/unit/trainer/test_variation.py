"""What is learnt from is varied, and stays what its caption says."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.variation import LEAST_CONTRAST, MAX_SCALE, varied_digit, varied_photograph


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
    varied = varied_photograph(picture, np.random.default_rng(seed))
    assert varied.shape == picture.shape
    assert varied.min() >= 0
    assert varied.max() <= 1
    sides = [np.rot90(side, turns) for side in (picture, picture[:, ::-1]) for turns in range(4)]
    slopes = {round(np.polyfit(side.ravel(), varied.ravel(), 1)[0], 6) for side in sides}
    contrast = max(slopes, key=abs)
    assert LEAST_CONTRAST <= abs(contrast) <= 1
    fits = [np.abs(varied - varied.mean() - contrast * (side - side.mean())) for side in sides]
    assert min(fit.max() for fit in fits) < 1e-6
