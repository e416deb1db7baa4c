"""The ball around an input, kept to the last bit in the input's own precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import lengths, rowwise
from wintergarden.errors import InvalidArgument

Norm = Literal["linf", "l2", "l0"]
NORMS: tuple[Norm, ...] = get_args(Norm)
_SAYS = {"linf": "L-infinity", "l2": "L2", "l0": "L0"}


@dataclass(frozen=True, eq=False)
class Ball:
    """All x′ of the box with ‖x′ − x‖ ≤ epsilon.

    Attributes:
        epsilon: Radius, in the input's own units: of each element (linf) or of the whole row (l2);
            or how many places of the box's choices may be others (l0).
        box: Valid range, and what may change.
        norm: Which norm.
    """

    epsilon: float
    box: Box = field(default_factory=Box)
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        """Refuse radii and norms that mean nothing.

        Raises:
            InvalidArgument: naming what was got, what is allowed and the units.
        """
        if self.norm not in NORMS:
            raise InvalidArgument(f"norm '{self.norm}'; norms are {', '.join(NORMS)}", "norm")
        largest = float(np.finfo(np.float32).max)
        if not 0 <= self.epsilon <= largest:  # a NaN fails this too
            raise InvalidArgument(
                f"epsilon={self.epsilon}: must be a finite number ≥ 0, the radius in the "
                f"{_SAYS[self.norm]} norm in units of {self.box.units}",
                "epsilon",
            )

    def project(self, x: Array, moved: Array) -> Array:
        """A point of the ball around `x` near `moved` (linf: the nearest), in x's precision.

        Rounding may land outside; one representable number back towards x is inside, because
        differences are compared in double precision with an ε that was itself rounded down.
        """
        centre = x.astype(np.float64)
        step = moved.astype(np.float64) - centre
        radius = self._radius(x.dtype)
        if self.norm == "linf":
            step = np.clip(step, -radius, radius)
        else:  # clipping to the range only shortens it
            length = lengths(step, "l2")
            step *= rowwise(np.minimum(1, radius * (1 - 1e-12) / np.maximum(length, 1e-300)), step)
        inside = self.box.project(x, centre + step)
        difference = inside.astype(np.float64) - centre
        if self.norm == "linf":
            beyond = np.abs(difference) > radius
        else:
            beyond = rowwise(lengths(difference, "l2") > radius, difference)
        projected: Array = np.where(beyond, np.nextafter(inside, x), inside)
        return projected

    def steepest(self, slope: Array) -> Array:
        """The direction of length one in which a slope [N, …] climbs most; float64."""
        slope = np.nan_to_num(self.box.hold_slope(slope.astype(np.float64)))
        if self.norm == "linf":
            sign: Array = np.sign(slope)
            return sign
        # Squares of small slopes vanish: they are scaled first.
        slope = slope / rowwise(np.maximum(lengths(slope, "linf"), 1e-300), slope)
        unit: Array = slope / rowwise(np.maximum(lengths(slope, "l2"), 1e-300), slope)
        return unit

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        """A point for each row, uniform in the ball before it is cut by the box."""
        if self.norm == "linf":
            step = np.asarray(rng.uniform(-self.epsilon, self.epsilon, x.shape))
        else:
            size = int(np.prod(x.shape[1:]))
            radius = self.epsilon * rng.random(len(x)) ** (1 / max(1, size))
            noise = np.asarray(rng.standard_normal(x.shape))
            step = noise * rowwise(radius / np.maximum(lengths(noise, "l2"), 1e-300), noise)
        return self.project(x, x.astype(np.float64) + step)

    def _radius(self, dtype: np.dtype[Any]) -> float:
        """The largest number of the type that is not above epsilon."""
        with np.errstate(over="ignore"):
            nearest = dtype.type(self.epsilon)
        return float(
            np.nextafter(nearest, dtype.type(0)) if float(nearest) > self.epsilon else nearest
        )
