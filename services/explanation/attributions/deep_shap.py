"""DeepLIFT against one baseline, Deep SHAP over several.

Shrikumar, Greenside, Kundaje, 2017, https://arxiv.org/abs/1704.02685; Lundberg, Lee, 2017, §4.2.
The multipliers are those of `backprop.deeplift`; over a background their products with x − b are
averaged, so Σ φ = f(x) − mean f(b).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.explanation.arrays import Array

Multipliers = Callable[[Array, Array, Array], Array]
"""Rows [R, …], baselines [R, …] and weights [R, K] to multipliers of the rows' shape."""


def deep_shap(multipliers: Multipliers, rows: Array, background: Array, weights: Array) -> Array:
    """Attributions, float64 of the rows' shape.

    Args:
        multipliers: The model's.
        rows: [N, …].
        background: [B, …].
        weights: [N, K], the output that is explained.
    """
    total = np.zeros(rows.shape)
    for baseline in background:
        starts = np.broadcast_to(baseline, rows.shape)
        total += multipliers(rows, starts, weights) * (rows.astype(np.float64) - starts)
    return total / len(background)
