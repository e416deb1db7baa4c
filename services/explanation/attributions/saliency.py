"""Saliency: the gradient of one output by every element of the input.

Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", 2013, §3.
https://arxiv.org/abs/1312.6034

Departure from the paper: the sign is kept; its pictures show the magnitude.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    return gradient(rows, one_hot(targets, outputs, rows.dtype)).astype(np.float64)


def one_hot(targets: Array, outputs: int, dtype: np.dtype[Any]) -> Array:
    """The weights [N, K] that pick each row's target."""
    weights: Array = (targets[:, None] == np.arange(outputs)).astype(dtype)
    return weights
