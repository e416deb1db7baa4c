"""The two words every method is written in: arrays, and a model as a function of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Predict: TypeAlias = Callable[[Array], Array]
"""Rows [R, …] of the model's input to one output [R, K]; rows do not influence one another."""
