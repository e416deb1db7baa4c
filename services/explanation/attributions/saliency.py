"""Saliency: the gradient of one output by every element of the input.

Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", 2013, §3.
https://arxiv.org/abs/1312.6034

Departure from the paper: the sign is kept; its pictures show the magnitude.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.explanation.arrays import Array

Gradient = Callable[[Array, Array], Array]
"""Rows [R, …] and a weight per output [R, K] to ∂(Σ weights · output)/∂rows."""


def saliency(gradient: Gradient, rows: Array, targets: Array, outputs: int) -> Array:
    """∂ output[target] / ∂ rows, float64 of the rows' shape.

    Args:
        gradient: The model's.
        rows: [N, …].
        targets: [N], which output of each row.
        outputs: K.
    """
    weights = np.zeros((len(rows), outputs), rows.dtype)
    weights[np.arange(len(rows)), targets] = 1
    return gradient(rows, weights).astype(np.float64)
