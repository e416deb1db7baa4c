"""Integrals of the gradient along straight lines from a baseline to the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.saliency import Gradient

QUADRATURES = ("gauss_legendre", "midpoint", "trapezoid", "left", "right")
"""By the numbers that the parameter `quadrature` takes: 0 to 4."""

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Quadrature:
    """Points in [0, 1] and their weights, which sum to one."""

    points: Array
    weights: Array

    @classmethod
    def of(cls, name: str, steps: int) -> Quadrature:
        """A rule of `QUADRATURES`; gauss_legendre is exact for polynomials of degree 2 steps − 1.

        Riemann's sums are those of Sundararajan et al., §5; the trapezoid needs two points.
        """
        if name == "gauss_legendre":
            nodes, weights = np.polynomial.legendre.leggauss(steps)
            return cls((nodes + 1) / 2, weights / 2)
        even = np.full(steps, 1 / steps)
        if name == "trapezoid":
            count = max(2, steps)
            ends = np.full(count, 1 / (count - 1))
            ends[[0, -1]] /= 2
            return cls(np.linspace(0, 1, count), ends)
        shift = {"midpoint": 0.5, "left": 0.0, "right": 1.0}[name]
        return cls((np.arange(steps) + shift) / steps, even)


def mean_gradient(
    gradient: Gradient, rows: Array, baselines: Array, weights: Array, rule: Quadrature
) -> Array:
    """∫ ∇f(b + α (x − b)) dα, float64 of the rows' shape.

    Args:
        gradient: The model's.
        rows: [N, …].
        baselines: [N, …].
        weights: [N, K], what is differentiated.
        rule: Of the integral.
    """
    total = np.zeros(rows.shape)
    for shares, points in along(rows, baselines, rule):
        slopes = gradient(points, np.tile(weights, (len(shares), 1)))
        total += np.tensordot(shares, slopes.reshape(len(shares), *rows.shape), 1)
    return total


def along(rows: Array, baselines: Array, rule: Quadrature) -> Iterator[tuple[Array, Array]]:
    """Weights [c] and points [c N, …] of the lines, as many steps at once as fit a chunk."""
    step = max(1, _CHUNK_BYTES // max(1, rows.nbytes))
    for start in range(0, len(rule.points), step):
        alphas = rule.points[start : start + step].reshape(-1, *[1] * rows.ndim)
        points = baselines + alphas * (rows.astype(np.float64) - baselines)
        chunk = points.reshape(-1, *rows.shape[1:]).astype(rows.dtype)
        yield rule.weights[start : start + step], chunk


Refine = Callable[[int, Array], tuple[Array, Array]]
"""Steps and the indices of rows to their attributions [n, …] and gaps [n]."""


def refined(
    refine: Refine, count: int, tolerances: Array, *, steps: int, most: int
) -> tuple[Array, Array, int]:
    """Twice the steps for the rows whose gap is above tolerance, up to `most`.

    Args:
        refine: The method.
        count: N.
        tolerances: [N].
        steps: The first number of steps.
        most: The last.

    Returns:
        Attributions [N, …], gaps [N] and the gradients taken.
    """
    every = np.arange(count)
    attributions, gaps = refine(steps, every)
    taken = steps * count
    while steps < most and (coarse := every[np.abs(gaps) > tolerances]).size:
        steps = min(2 * steps, most)
        taken += steps * len(coarse)
        attributions[coarse], gaps[coarse] = refine(steps, coarse)
    return attributions, gaps, taken
