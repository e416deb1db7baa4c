"""The square attack: random search with the logits alone, no gradient.

Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box adversarial
attack via random search", ECCV 2020, algorithms 1 and 2. https://arxiv.org/abs/1912.00049

Departures from the paper: inputs that are not images [C, H, W] or [H, W, C] have a random subset
of their elements moved instead of a square; L∞ only.
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array, is_channels_last
from services.explanation.attacks.ball import Ball
from services.explanation.attacks.victim import Victim
from wintergarden.errors import Unsupported

# The share p of the elements that are moved is halved at these steps of 10 000 (§3.3).
_HALVED_AT = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)


def square(
    victim: Victim, rows: Array, ball: Ball, *, steps: int = 5000, share: float = 0.8, seed: int = 0
) -> Array:
    """Rows moved within their balls; one that is never fooled ends where it was closest to it.

    Args:
        victim: The model and what is wanted of it; only its logits are asked for.
        rows: [N, …] within the box.
        ball: Where they may go.
        steps: At most; each costs a query.
        share: p, of the elements, at first.
        seed: Of what is drawn.

    Raises:
        Unsupported: a norm other than L∞.
    """
    if ball.norm != "linf":
        raise Unsupported("square moves within the L-infinity norm; pgd and boundary know L2")
    rng = np.random.default_rng(seed)
    is_last = is_channels_last(rows.shape[1:])
    shape = _channels_first(rows.shape) if is_last else rows.shape
    best = ball.project(rows, rows + ball.epsilon * _placed(_stripes(shape, rng), is_last))
    highest = np.full(len(rows), -np.inf)
    left = victim.all
    moved = best.copy()
    for step in range(steps):
        logits = victim.logits(moved[left], left)
        heights = victim.heights(logits, left)
        fooled = victim.is_fooled(logits, left)
        higher = (heights >= highest[left]) | fooled
        best[left[higher]] = moved[left[higher]]
        highest[left[higher]] = heights[higher]
        left = left[~fooled]
        if not len(left):
            break
        current = share * 0.5 ** sum(step * 10_000 >= at * steps for at in _HALVED_AT)
        changed = best[left].astype(np.float64)
        for index, row in enumerate(left):
            where = _placed(_window(shape[1:], current, rng), is_last)
            # One sign for each channel of the square, one for each element of a subset.
            channels = shape[1] if rows.ndim == 4 else 1
            signs = rng.choice((-1.0, 1.0), (channels, *[1] * (rows.ndim - 2)))
            to = rows[row].astype(np.float64) + ball.epsilon * _placed(signs, is_last)
            changed[index] = np.where(where, to, changed[index])
        moved[left] = ball.project(rows[left], changed)
    return best


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    count, height, width, channels = shape
    return count, channels, height, width


def _placed(drawn: Array, is_last: bool) -> Array:
    """[…, C, H, W] as the rows have it."""
    return np.moveaxis(drawn, -3, -1) if is_last else drawn


def _stripes(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Signs to start with: vertical stripes of an image, else of each element."""
    size = (shape[0], shape[1], 1, shape[3]) if len(shape) == 4 else shape
    signs: Array = np.broadcast_to(rng.choice((-1.0, 1.0), size), shape)
    return signs


def _window(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> Array:
    """Bool that broadcasts over a row: a square of an image, else a subset."""
    if len(shape) == 3:
        _, height, width = shape
        side = round(np.sqrt(share * height * width))
        side = int(np.clip(side, 1, min(height, width)))
        top = rng.integers(0, height - side + 1)
        start = rng.integers(0, width - side + 1)
        where = np.zeros((1, height, width), bool)
        where[:, top : top + side, start : start + side] = True
        return where
    size = int(np.prod(shape))
    subset = np.zeros(size, bool)
    subset[rng.choice(size, max(1, round(share * size)), replace=False)] = True
    return subset.reshape(shape)
