from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from trainer.checkpoint import SCHEMA_VERSION, Origin, decode, encode
from trainer.data.dataset import Dataset
from trainer.data.registry import load
from trainer.state_file import pack
from trainer.zoo.registry import find
from wintergarden.errors import DataLoss, FailedPrecondition


@pytest.fixture(scope="module")
def wine() -> Dataset:
    return load("wine")


@pytest.fixture
def origin(wine: Dataset) -> Origin:
    hyperparameters = find("mlp").hyperparameters.parse({"hidden_sizes": [8]})
    return Origin.here("mlp", hyperparameters, wine, 5)


def test_the_origin_and_the_state_come_back(origin: Origin) -> None:
    taken, state = decode(encode(origin, {"step": 3, "w": torch.ones(2)}))
    assert taken == origin
    assert origin.compare(taken) == []
    assert state["step"] == 3
    assert torch.equal(state["w"], torch.ones(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "lenet5"}, "its architecture is 'lenet5', and this training's is 'mlp'"),
        ({"seed": 6}, "its seed is 6, and this training's is 5"),
        ({"dataset_digest": "0" * 64}, "its dataset_digest is '000"),
        ({"hyperparameters": {"epochs": 2}}, "its hyperparameters is"),
    ],
)
def test_another_training_is_refused(origin: Origin, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FailedPrecondition, match=message):
        origin.compare(replace(origin, **change))


def test_other_circumstances_are_named(origin: Origin) -> None:
    elsewhere = replace(origin, torch="2.99", threads=origin.threads + 1)
    assert origin.compare(elsewhere) == [
        f"torch was 2.99 and is {torch.__version__}",
        f"threads was {origin.threads + 1} and is {origin.threads}",
    ]


def test_a_newer_schema_is_refused() -> None:
    content = pack({}, {"schema_version": str(SCHEMA_VERSION + 1), "origin": "{}"})
    with pytest.raises(FailedPrecondition, match="schema version 2; this one reads up to 1"):
        decode(content)


@pytest.mark.parametrize(
    "metadata",
    [{}, {"schema_version": "x"}, {"schema_version": "1", "origin": json.dumps({"seed": 1})}],
)
def test_a_state_that_is_no_checkpoint_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(DataLoss, match="no checkpoint"):
        decode(pack({}, metadata))
