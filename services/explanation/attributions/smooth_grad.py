"""SmoothGrad: the mean gradient around the input.

Smilkov, Thorat, Kim, Viégas, Wattenberg, "SmoothGrad: removing noise by adding noise", 2017.
https://arxiv.org/abs/1706.03825
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.saliency import Gradient


def smooth_grad(
    gradient: Gradient, rows: Array, weights: Array, *, noise: float, samples: int, seed: int
) -> Array:
    """The mean of ∇f(x + n), n from N(0, σ²), float64 of the rows' shape.

    Each draw is shared by all rows, so that an answer does not depend on its neighbours.

    Args:
        gradient: The model's.
        rows: [N, …].
        weights: [N, K], the output that is explained.
        noise: σ as a share of each row's own range, maximum less minimum.
        samples: Draws.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    flat = rows.reshape(len(rows), -1)
    spread = np.ptp(flat, axis=1).reshape(-1, *[1] * (rows.ndim - 1)).astype(np.float64)
    total = np.zeros(rows.shape)
    for _ in range(samples):
        moved = rows + noise * spread * rng.standard_normal(rows.shape[1:])
        total += gradient(moved.astype(rows.dtype), weights)
    return total / samples
