from __future__ import annotations

from typing import Any

import pytest

from trainer.data.registry import describe
from trainer.recipes.hyperparameters import validate
from trainer.zoo.registry import check_fits, find
from wintergarden.errors import InvalidArgument, NotFound


def test_defaults_are_the_architectures_own() -> None:
    assert validate(find("lenet5"), {}).epochs == 30
    assert validate(find("mlp"), {}).epochs == 60


@pytest.mark.parametrize(
    ("values", "message", "field"),
    [
        ({"epochs": 0}, "greater than or equal to 1, got 0", "hyperparameters.epochs"),
        ({"learning_rate": "fast"}, "valid number.*got 'fast'", "hyperparameters.learning_rate"),
        ({"learning_rate": float("nan")}, "got nan", "hyperparameters.learning_rate"),
        ({"dropout": 1.0}, "less than 1, got 1.0", "hyperparameters.dropout"),
        ({"optimizer": "lion"}, "'adam' or 'sgd', got 'lion'", "hyperparameters.optimizer"),
        ({"lr": 1}, "no hyperparameter 'lr'; there are augment, batch_size", "hyperparameters.lr"),
        ({"patience": 3}, "patience 3 needs schedule 'constant'", "hyperparameters"),
    ],
)
def test_a_bad_value_is_named(values: dict[str, Any], message: str, field: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        validate(find("lenet5"), values)
    assert caught.value.field == field


def test_an_unknown_architecture_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="'resnet'; there are lenet5, mlp"):
        find("resnet")


def test_a_set_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="it classifies images"):
        check_fits(find("lenet5"), describe("wine"))
