from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainer.data.registry import describe
from trainer.zoo.registry import check_fits, find
from wintergarden.errors import InvalidArgument, NotFound


def parse(values: dict[str, Any], architecture: str = "mlp") -> Any:
    return find(architecture).hyperparameters.parse(values)


def test_defaults_are_the_architectures_own() -> None:
    assert parse({}, "lenet5").epochs == 30
    assert parse({}, "mlp").epochs == 60


def test_numbers_are_json_numbers() -> None:
    parsed = parse({"epochs": 20.0, "learning_rate": 1, "hidden_sizes": [8.0, 4]})
    assert (parsed.epochs, parsed.learning_rate, parsed.hidden_sizes) == (20, 1.0, (8, 4))
    assert isinstance(parsed.epochs, int)


@pytest.mark.parametrize(
    ("values", "message", "field"),
    [
        ({"epochs": 0}, "'epochs': got 0; allowed is an integer ≥ 1 and ≤ 10000", "epochs"),
        ({"epochs": 1.5}, "got 1.5; allowed is an integer", "epochs"),
        ({"epochs": "5"}, "got '5'; allowed is an integer", "epochs"),
        ({"epochs": True}, "got True; allowed is an integer", "epochs"),
        ({"learning_rate": "fast"}, "got 'fast'; allowed is a number > 0", "learning_rate"),
        ({"learning_rate": float("nan")}, "got nan", "learning_rate"),
        ({"l2": float("inf")}, "got inf", "l2"),
        ({"dropout": 1.0}, "got 1.0; allowed is a number ≥ 0 and < 1", "dropout"),
        ({"optimizer": "lion"}, 'got \'lion\'; allowed is one of "adam", "sgd"', "optimizer"),
        ({"hidden_sizes": [8, 0]}, "a list of at most 32, each an integer", "hidden_sizes.1"),
        ({"hidden_sizes": [8] * 33}, "a list of at most 32", "hidden_sizes"),
        ({"schedule": "cosine", "warmup": 2}, "got 2; allowed is a number ≥ 0 and ≤ 1", "warmup"),
        ({"warmup": 0.1}, "got 0.1; allowed is 0 with schedule one_cycle, which has", "warmup"),
        ({"accumulate": 65}, "got 65; allowed is at most the batch_size, 64", "accumulate"),
        ({"precision": "fp8"}, 'allowed is one of "fp32", "bf16", "fp16"', "precision"),
        ({"lr": 1}, "no hyperparameter 'lr'; there are accumulate, batch_size", "lr"),
        ({"augment": True}, "no hyperparameter 'augment'", "augment"),
    ],
)
def test_a_bad_value_is_named(values: dict[str, Any], message: str, field: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        parse(values)
    assert caught.value.field == f"hyperparameters.{field}"


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="must be JSON values"):
        parse({"l1": {1}})


def test_an_unknown_architecture_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="'resnet'; there are alexnet, "):
        find("resnet")


def test_a_set_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"it is for image-class.*this is tabular-"):
        check_fits(find("lenet5"), describe("wine"))


def test_images_that_are_too_large_are_refused() -> None:
    large = replace(describe("mnist-5k"), input_shape=(1, 64, 64))
    with pytest.raises(InvalidArgument, match="at most 32 pixels wide, these are 64x64"):
        check_fits(find("lenet5"), large)
