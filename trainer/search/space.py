"""What a search may choose, as JSON, and as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from wintergarden.errors import InvalidArgument


class _Range(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Float(_Range):
    type: Literal["float"]
    low: FiniteFloat
    high: FiniteFloat
    log: bool = False

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        _check(self.low, self.high, is_log=self.log)
        return self

    def distribution(self) -> BaseDistribution:
        return FloatDistribution(self.low, self.high, log=self.log)


class _Int(_Range):
    type: Literal["int"]
    low: int
    high: int
    step: Annotated[int, Field(ge=1)] = 1
    log: bool = False

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        _check(self.low, self.high, is_log=self.log)
        if self.log and self.step != 1:
            raise ValueError("a logarithmic range has no step")
        if (self.high - self.low) % self.step:
            raise ValueError(f"high {self.high} is no whole number of steps above {self.low}")
        return self

    def distribution(self) -> BaseDistribution:
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)


class _Choice(_Range):
    type: Literal["choice"]
    choices: Annotated[tuple[bool | int | float | str | None, ...], Field(min_length=1)]

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(self.choices)


_SPACE: TypeAdapter[dict[str, _Float | _Int | _Choice]] = TypeAdapter(
    Annotated[
        dict[str, Annotated[_Float | _Int | _Choice, Field(discriminator="type")]],
        Field(min_length=1),
    ]
)


def parse_space(values: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The distributions of a space.

    Args:
        values: by hyperparameter: `{"type": "float", "low": 1e-4, "high": 0.1, "log": true}`,
            `{"type": "int", "low": 5, "high": 20, "step": 5}` or
            `{"type": "choice", "choices": ["adam", "sgd"]}`.

    Raises:
        InvalidArgument: naming the hyperparameter and what is wrong.
    """
    try:
        space = _SPACE.validate_python(dict(values))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        path = ".".join(["space", *(str(part) for part in problem["loc"])])
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidArgument(f"{path}: {message}", field=path) from error
    return {name: chosen.distribution() for name, chosen in space.items()}


def _check(low: float, high: float, *, is_log: bool) -> None:
    if low > high:
        raise ValueError(f"low {low} is above high {high}")
    if is_log and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, got {low}")
