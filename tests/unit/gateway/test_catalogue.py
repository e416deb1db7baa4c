"""What a submission may ask for, against a catalogue in a real queue's place."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalogue import Catalogue
from wintergarden.errors import InvalidArgument, NotFound, Unavailable
from wintergarden.wire import training_pb2 as pb

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "epochs": {"type": "integer", "minimum": 1, "maximum": 200, "default": 20},
        "learning_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "layers": {"type": "array", "items": {"type": "integer", "minimum": 1}},
    },
}
CATALOGUE = {
    "architectures": [
        {"name": "lenet5", "hyperparameters_schema": SCHEMA, "datasets": ["mnist-5k", "digits"]},
        {"name": "mlp", "hyperparameters_schema": SCHEMA, "datasets": ["wine"]},
    ],
    "datasets": [{"name": "mnist-5k"}, {"name": "digits"}, {"name": "wine"}],
}


class Registered:
    """The one thing the catalogue asks of the jobs."""

    def __init__(self, catalogue: dict[str, Any] | None) -> None:
        self._catalogue = catalogue

    def read_catalogue(self) -> dict[str, Any] | None:
        return self._catalogue


def check(**fields: Any) -> Any:
    spec = pb.TrainingSpec(**{"architecture": "lenet5", "dataset": "digits", **fields})
    return Catalogue(Registered(CATALOGUE)).check(spec)  # type: ignore[arg-type]


def test_defaults_are_filled_in() -> None:
    spec = check(seed=7, hyperparameters_json='{"epochs": 3}')
    assert (spec.model, spec.seed, spec.hyperparameters) == ("lenet5-digits", 7, {"epochs": 3})
    assert check(model="mine").model == "mine"


def test_unknown_names_name_the_known() -> None:
    with pytest.raises(NotFound, match="no architecture 'lenet6'; there are lenet5, mlp"):
        check(architecture="lenet6")
    with pytest.raises(NotFound, match="no data set 'imagenet'; there are mnist-5k, digits, wine"):
        check(dataset="imagenet")


def test_a_pair_that_does_not_fit() -> None:
    with pytest.raises(InvalidArgument, match="cannot be trained on 'wine'; it takes mnist-5k"):
        check(dataset="wine")


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ('{"epochs": 0}', "epochs", r"'epochs': 0 is less .* allowed: .*\"maximum\": 200"),
        ('{"epochs": 2.5}', "epochs", "'epochs': 2.5 is not of type 'integer'"),
        ('{"epochs": true}', "epochs", "'epochs': True is not of type 'integer'"),
        ('{"layers": [4, 0]}', "layers.1", r"'layers\.1': 0 is less than the minimum"),
        ('{"epoch": 3}', "", "no hyperparameter epoch; there are epochs, layers, learning_rate"),
        ('{"learning_rate": NaN}', "json", "NaN is no JSON number"),
        ('{"learning_rate": -Infinity}', "json", "-Infinity is no JSON number"),
        ("[1]", "json", "must be a JSON object, got list"),
        ("{", "json", "not JSON"),
        ("[" * 100_000, "json", "not JSON"),
    ],
)
def test_hyperparameters_out_of_bounds(text: str, field: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as caught:
        check(hyperparameters_json=text)
    where = {"json": "_json", "": ""}.get(field, f".{field}")
    assert caught.value.field == f"training.hyperparameters{where}"


def test_before_any_trainer_has_registered() -> None:
    with pytest.raises(Unavailable, match="no trainer has registered"):
        Catalogue(Registered(None)).architectures()  # type: ignore[arg-type]
