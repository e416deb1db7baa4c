"""The gateway and the trainer agree on what can be trained on what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway import fitting
from trainer.data.dataset import DatasetInfo
from trainer.data.registry import datasets, describe
from trainer.recipes.catalogue import catalogue
from trainer.zoo import registry

SHAPES = [
    *datasets().values(),
    replace(describe("digits"), name="wide", input_shape=(1, 8, 9)),
    replace(describe("digits"), name="large", input_shape=(3, 64, 64)),
    replace(describe("wine"), name="text", task="text-classification", input_shape=()),
]


@pytest.mark.parametrize("name", sorted(registry.architectures()))
@pytest.mark.parametrize("info", SHAPES, ids=lambda info: info.name)
def test_they_say_the_same(name: str, info: DatasetInfo) -> None:
    entry = next(entry for entry in catalogue()["architectures"] if entry["name"] == name)
    uploaded = {"name": info.name, "task": info.task, "input_shape": list(info.input_shape)}
    assert fitting.refusal(entry, uploaded) == registry.find(name).refusal(info)
