"""The numbers a method can be tuned by: what they may be, and what they are by default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from wintergarden.errors import InvalidArgument

Numbers = Mapping[str, float]
NO_NUMBERS: Numbers = MappingProxyType({})


@dataclass(frozen=True)
class Parameter:
    """One number.

    Attributes:
        name: As requests call it.
        default: Where a request does not say.
        least: The smallest allowed.
        most: The largest.
        summary: What it does, and its unit.
        is_whole: Only whole numbers are allowed.
    """

    name: str
    default: float
    least: float
    most: float
    summary: str
    is_whole: bool = True

    def check(self, value: float) -> float:
        """The value, where it is allowed.

        Raises:
            InvalidArgument: it is not; says what is.
        """
        kind = "a whole number" if self.is_whole else "a number"
        if (
            not math.isfinite(value)
            or not self.least <= value <= self.most
            or (self.is_whole and value != int(value))
        ):
            raise InvalidArgument(
                f"{self.name}={value:g}: {kind} from {self.least:g} to {self.most:g}, "
                f"{self.summary}",
                f"parameters.{self.name}",
            )
        return value


def settle(method: str, parameters: Sequence[Parameter], given: Numbers) -> dict[str, float]:
    """Every parameter of a method: as given, else its default.

    Raises:
        InvalidArgument: one that the method does not have, or a value that is not allowed.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            names = ", ".join(known) or "none"
            raise InvalidArgument(
                f"{method} has no parameter '{name}'; it has {names}", f"parameters.{name}"
            )
    return {p.name: p.check(given.get(p.name, p.default)) for p in parameters}
