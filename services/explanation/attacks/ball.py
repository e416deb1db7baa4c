"""The L∞ ball around an input, kept to the last bit in the input's own precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.explanation.arrays import Array
from wintergarden.errors import InvalidArgument, InvalidTensor, Unsupported


@dataclass(frozen=True)
class Ball:
    """All x′ with |x′ − x| ≤ epsilon for each element, and low ≤ x′ ≤ high.

    Attributes:
        epsilon: Radius in the L∞ norm, in the input's own units.
        low: The lowest valid value; minus infinity if there is none.
        high: The highest.
        units: What epsilon is measured in, for messages and pictures.
    """

    epsilon: float
    low: float = -math.inf
    high: float = math.inf
    units: str = "the input's own units"

    def __post_init__(self) -> None:
        """Refuse radii and ranges that mean nothing.

        Raises:
            InvalidArgument: naming what was got, what is allowed and the units.
        """
        largest = float(np.finfo(np.float32).max)
        if not 0 <= self.epsilon <= largest:  # a NaN fails this too
            raise InvalidArgument(
                f"epsilon_linf={self.epsilon}: must be a finite number ≥ 0, the radius in the "
                f"L-infinity norm in units of {self.units}",
                "epsilon_linf",
            )
        if not self.low < self.high:
            raise InvalidArgument(
                f"value_range=[{self.low}, {self.high}]: the first must be below the second",
                "value_range",
            )

    def finite_range(self) -> tuple[float, float] | tuple[()]:
        """Lowest and highest valid value, or nothing where there is no bound."""
        bounded = math.isfinite(self.low) and math.isfinite(self.high)
        return (self.low, self.high) if bounded else ()

    def check_centre(self, x: Array) -> None:
        """Refuse an input the ball cannot be drawn around.

        Raises:
            InvalidTensor: it is not finite or leaves the valid range, so that clipping it would
                move it further than epsilon.
            Unsupported: it is not of a float type.
        """
        if x.dtype not in (np.float16, np.float32, np.float64):
            raise Unsupported(f"attacks change FP16, FP32 and FP64 inputs, this one is {x.dtype}")
        if not np.isfinite(x).all():
            raise InvalidTensor("the input holds NaN or infinity", "input")
        low, high = self._range(x.dtype)
        if x.size and (x.min() < low or x.max() > high):
            raise InvalidTensor(
                f"the input spans [{x.min():g}, {x.max():g}], its valid range is "
                f"[{self.low:g}, {self.high:g}] in {self.units}",
                "input",
            )

    def project(self, x: Array, moved: Array) -> Array:
        """The nearest point of the ball around `x` to `moved`, in the precision of `x`.

        Rounding x ± ε may land outside; one representable number back towards x is inside,
        because a difference of single-precision numbers is compared in double precision with an
        ε that was itself rounded down.
        """
        radius = self._radius(x.dtype)
        centre = x.astype(np.float64)
        inside = np.clip(moved.astype(np.float64), centre - radius, centre + radius)
        inside = np.clip(inside, *self._range(x.dtype)).astype(x.dtype)
        beyond = np.abs(inside.astype(np.float64) - centre) > radius
        projected: Array = np.where(beyond, np.nextafter(inside, x), inside)
        return projected

    def _radius(self, dtype: np.dtype[Any]) -> float:
        """The largest number of the type that is not above epsilon."""
        with np.errstate(over="ignore"):
            nearest = dtype.type(self.epsilon)
        return float(
            np.nextafter(nearest, dtype.type(0)) if float(nearest) > self.epsilon else nearest
        )

    def _range(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """The valid range as the type can say it."""
        with np.errstate(over="ignore"):
            return float(dtype.type(self.low)), float(dtype.type(self.high))


def distance_linf(x: Array, other: Array) -> Array:
    """Largest change of any element, per row; exact."""
    difference = np.abs(other.astype(np.float64) - x.astype(np.float64))
    largest: Array = difference.reshape(len(x), -1).max(axis=1)
    return largest
