"""Where an input may go: its valid range, and which of its elements may change at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.choices import Choices
from wintergarden.errors import FailedPrecondition, InvalidArgument, InvalidTensor


@dataclass(frozen=True, eq=False)
class Box:
    """All x′ with low ≤ x′ ≤ high that equal x where nothing may change.

    Attributes:
        low: The lowest valid value; minus infinity if there is none.
        high: The highest.
        units: What the values are measured in, for messages and pictures.
        changeable: bool of a row's shape: what may change by degrees; None: every element.
        choices: What may be flipped, being one of several; None: nothing.
    """

    low: float = -math.inf
    high: float = math.inf
    units: str = "the input's own units"
    changeable: Array | None = None
    choices: Choices | None = None

    def __post_init__(self) -> None:
        """Refuse ranges that mean nothing.

        Raises:
            InvalidArgument: naming what was got and what is allowed.
        """
        if not self.low < self.high:
            raise InvalidArgument(
                f"value_range=[{self.low}, {self.high}]: the first must be below the second",
                "value_range",
            )

    def finite_range(self) -> tuple[float, float] | tuple[()]:
        """Lowest and highest valid value, or nothing where there is no bound."""
        bounded = math.isfinite(self.low) and math.isfinite(self.high)
        return (self.low, self.high) if bounded else ()

    def require_range(self, method: str) -> tuple[float, float]:
        """As `finite_range`, for a method that cannot do without.

        Raises:
            FailedPrecondition: there is none.
            InvalidArgument: it is so wide that distances in it have no number.
        """
        if not (bounds := self.finite_range()):
            raise FailedPrecondition(
                f"{method} searches the whole valid range and the input has none; name "
                f"value_range in {self.units}"
            )
        widest = float(np.finfo(np.float32).max)
        if bounds[1] - bounds[0] > widest:
            raise InvalidArgument(
                f"value_range={list(bounds)}: {method} searches a range of {widest:g} at most, "
                f"in {self.units}",
                "value_range",
            )
        return bounds

    def check_centre(self, x: Array) -> None:
        """Refuse an input that is not inside.

        Raises:
            InvalidTensor: it is not finite or leaves the valid range, so that clipping it would
                move it by itself; or `changeable` has another shape.
        """
        if self.changeable is not None and self.changeable.shape != x.shape[1:]:
            raise InvalidTensor(
                f"the mask of what may change has shape {list(self.changeable.shape)}, a row of "
                f"the input {list(x.shape[1:])}",
                "changeable",
            )
        if x.dtype.kind != "f":  # tokens have no range
            return
        if not np.isfinite(x).all():
            raise InvalidTensor("the input holds NaN or infinity", "input")
        low, high = self.range_in(x.dtype)
        if x.size and (x.min() < low or x.max() > high):
            raise InvalidTensor(
                f"the input spans [{x.min():g}, {x.max():g}], its valid range is "
                f"[{self.low:g}, {self.high:g}] in {self.units}",
                "input",
            )

    def range_in(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """The valid range as the type can say it: its own largest numbers bound it too."""
        limits = np.finfo(dtype)
        least, most = float(limits.min), float(limits.max)
        low, high = (min(max(bound, least), most) for bound in (self.low, self.high))
        return float(dtype.type(low)), float(dtype.type(high))

    def project(self, x: Array, moved: Array) -> Array:
        """The nearest allowed point to `moved`, in the precision of `x`."""
        inside = np.clip(moved.astype(np.float64), *self.range_in(x.dtype)).astype(x.dtype)
        return self.hold(x, inside)

    def hold(self, x: Array, moved: Array) -> Array:
        """`moved`, but `x` where nothing may change."""
        return moved if self.changeable is None else np.where(self.changeable, moved, x)

    def hold_slope(self, slope: Array) -> Array:
        """A direction [N, …] without what may not change."""
        return slope if self.changeable is None else np.where(self.changeable, slope, 0)
