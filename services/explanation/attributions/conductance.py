"""Conductance: how much of the way from the baseline to the output goes through a hidden unit.

Dhamdhere, Sundararajan, Yan, "How Important Is a Neuron?", 2018. https://arxiv.org/abs/1805.12233
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.path import Quadrature, along

Layer = Callable[[Array, Array], tuple[Array, Array]]
"""Rows [R, …] and weights [R, K] to the layer's activations and the gradients by them."""

Vjp = Callable[[Array, Array], Array]
"""Rows [R, …] and a weight for each unit of the layer to the gradient by the rows."""


def layer_conductance(
    layer: Layer, rows: Array, baseline: Array, weights: Array, steps: int
) -> Array:
    """∫ ∂f/∂y dy along the line, float64 [N, …layer]; Σ = f(x) − f(b) as steps grow.

    Args:
        layer: The hidden tensor y and ∂f/∂y.
        rows: [N, …].
        baseline: [1, …].
        weights: [N, K], the output that is explained.
        steps: Intervals; on each the trapezoid of ∂f/∂y times the change of y.
    """
    starts = np.broadcast_to(baseline, rows.shape)
    rule = Quadrature.of("trapezoid", steps + 1)
    total = before = None
    for shares, points in along(rows, starts, rule):
        units, slopes = layer(points, np.tile(weights, (len(shares), 1)))
        shape = (len(shares), len(rows), *units.shape[1:])
        for unit, slope in zip(units.reshape(shape), slopes.reshape(shape), strict=True):
            now = (unit.astype(np.float64), slope.astype(np.float64))
            if before is None:
                total = np.zeros(unit.shape)
            else:
                total += (now[1] + before[1]) / 2 * (now[0] - before[0])
            before = now
    if total is None:
        raise ValueError("at least one step is needed")
    return total


def neuron_conductance(
    layer: Layer, vjp: Vjp, rows: Array, baseline: Array, weights: Array, *,
    unit: int, rule: Quadrature,
) -> Array:  # fmt: skip
    """(x − b) ⊙ ∫ ∂f/∂y_unit · ∂y_unit/∂x dα, float64 of the rows' shape.

    Args:
        layer: The hidden tensor y and ∂f/∂y.
        vjp: The gradient by the rows of a weighted sum of y.
        rows: [N, …].
        baseline: [1, …].
        weights: [N, K], the output that is explained.
        unit: Position in a row of y, flattened.
        rule: Of the integral.
    """
    starts = np.broadcast_to(baseline, rows.shape)
    total = np.zeros(rows.shape)
    for shares, points in along(rows, starts, rule):
        _, slopes = layer(points, np.tile(weights, (len(shares), 1)))
        alone = np.zeros_like(slopes)
        flat = alone.reshape(len(alone), -1)
        flat[:, unit] = slopes.reshape(len(slopes), -1)[:, unit]
        by_rows = vjp(points, alone)
        total += np.tensordot(shares, by_rows.reshape(len(shares), *rows.shape), 1)
    attributions: Array = total * (rows.astype(np.float64) - starts)
    return attributions
