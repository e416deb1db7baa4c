"""Integrated gradients.

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
https://arxiv.org/abs/1703.01365

φ = (x − b) ⊙ ∫₀¹ ∇f(b + α (x − b)) dα; Σ φ = f(x) − f(b). Over several baselines, their mean.
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.path import Quadrature, mean_gradient
from services.explanation.attributions.saliency import Gradient


def integrated_gradients(
    gradient: Gradient, rows: Array, baselines: Array, weights: Array, rule: Quadrature
) -> Array:
    """Attributions, float64 of the rows' shape.

    Args:
        gradient: The model's.
        rows: [N, …].
        baselines: [B, …]; each row goes to each of them.
        weights: [N, K], the output that is explained.
        rule: Of the integral.
    """
    total = np.zeros(rows.shape)
    for baseline in baselines:
        starts = np.broadcast_to(baseline, rows.shape)
        slope = mean_gradient(gradient, rows, starts, weights, rule)
        total += (rows.astype(np.float64) - starts) * slope
    return total / len(baselines)
