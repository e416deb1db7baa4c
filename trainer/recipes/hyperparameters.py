"""All that a user may choose about a training: the architecture's part and the recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, create_model, model_validator

from trainer.zoo.registry import Architecture, Hyperparameters, architectures
from wintergarden.errors import InvalidArgument


class ClassificationHyperparameters(Hyperparameters):
    epochs: int = Field(default=60, ge=1, le=10_000)
    """Passes over the training data, at most."""
    batch_size: int = Field(default=64, ge=1, le=4096)
    """Examples per step."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam (Kingma, Ba 2015), or stochastic gradient descent with momentum 0.9."""
    learning_rate: float = Field(default=3e-3, gt=0, le=10)
    """Peak of the schedule."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    """One cycle rises and falls over all epochs (Smith, Topin 2018)."""
    l1: float = Field(default=0.0, ge=0, le=10)
    """Weight of the sum of absolute weights in the loss; biases are free."""
    l2: float = Field(default=0.0, ge=0, le=10)
    """Weight of half the sum of squared weights in the loss; biases are free."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target given to all classes alike (Szegedy et al. 2016, §7)."""
    patience: int = Field(default=0, ge=0, le=10_000)
    """Stop after so many epochs without a better validation loss, and keep the best epoch's
    weights; 0 trains to the end of the schedule and keeps the last."""

    @model_validator(mode="after")
    def _patience_needs_a_schedule_that_can_end(self) -> Self:
        if self.patience and self.schedule != "constant":
            raise ValueError(
                f"patience {self.patience} needs schedule 'constant': schedule "
                f"{self.schedule!r} only comes to rest at the last epoch"
            )
        return self


@cache
def hyperparameters_of(architecture: str) -> type[Hyperparameters]:
    """The model of everything one may choose for an architecture, with its defaults."""
    entry = architectures()[architecture]
    recipe = ClassificationHyperparameters
    defaults: dict[str, Any] = {}
    for name, default in entry.recipe_defaults.items():
        field = recipe.model_fields[name]
        defaults[name] = (field.annotation, field.merge_field_infos(field, default=default))
    combined: type[Hyperparameters] = create_model(
        f"{entry.hyperparameters.__name__.removesuffix('Hyperparameters')}Training",
        __base__=(entry.hyperparameters, recipe),
        **defaults,
    )
    return combined


def validate(architecture: Architecture, values: Mapping[str, Any]) -> Any:
    """The hyperparameters with defaults filled in.

    Raises:
        InvalidArgument: naming the field, what it got and what is allowed.
    """
    model = hyperparameters_of(architecture.name)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            message = (
                f"architecture {architecture.name!r} has no hyperparameter {field!r}; "
                f"there are {', '.join(sorted(model.model_fields))}"
            )
        else:
            got = f", got {problem['input']!r}" if field else ""
            message = f"hyperparameter {field!r}: {problem['msg']}{got}".replace("'': ", "s: ")
        raise InvalidArgument(
            message, field=".".join(filter(None, ("hyperparameters", field)))
        ) from error
