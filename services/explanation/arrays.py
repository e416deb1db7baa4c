"""The words every method is written in: arrays, images, a model as a function of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Predict: TypeAlias = Callable[[Array], Array]
"""Rows [R, …] of the model's input to one output [R, K]; rows do not influence one another."""


def is_channels_last(shape: Sequence[int]) -> bool:
    """Whether a row is an image [H, W, C], as TensorFlow and Keras write them, by its lengths."""
    return len(shape) == 3 and shape[-1] in (1, 3, 4) and min(shape[:2]) > 4


def channels_first(row: Array) -> Array:
    """An image as [C, H, W]; everything else as it is."""
    return np.moveaxis(row, -1, 0) if is_channels_last(row.shape) else row
