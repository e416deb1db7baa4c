"""Parts, clipping, precision and devices: what a step is made of."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from trainer.data.dataset import Dataset
from trainer.data.registry import load
from trainer.recipes.device import choose_device
from trainer.recipes.evaluation import evaluate
from trainer.recipes.randomness import derived_seed, generator_of
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.recipes.watcher import Watcher
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument, Unsupported


@pytest.fixture(scope="module")
def wine() -> Dataset:
    return load("wine")


def train_mlp(dataset: Dataset, watcher: Watcher | None = None, **values: Any) -> Trained:
    architecture = find("mlp")
    parsed = architecture.hyperparameters.parse({"epochs": 10, "batch_size": 16, **values})
    return train(architecture, parsed, dataset, 0, watcher)


def parameters(trained: Trained) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trained.network.parameters()])


@pytest.mark.parametrize("accumulate", [2, 3, 16])
def test_parts_add_up_to_the_batch(wine: Dataset, accumulate: int) -> None:
    whole = train_mlp(wine, optimizer="sgd", learning_rate=0.02)
    parts = train_mlp(wine, optimizer="sgd", learning_rate=0.02, accumulate=accumulate)
    torch.testing.assert_close(parameters(parts), parameters(whole), atol=1e-5, rtol=1e-4)
    losses = [[row["train_loss"] for row in t.history] for t in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_parts_of_augmented_images_are_those_of_the_batch() -> None:
    digits, architecture = load("digits"), find("lenet5")
    values = {"epochs": 1, "batch_size": 400, "optimizer": "sgd", "learning_rate": 0.02}
    whole, parts = (
        train(architecture, architecture.hyperparameters.parse(values | more), digits, 0)
        for more in ({}, {"accumulate": 4})
    )
    torch.testing.assert_close(parameters(parts), parameters(whole), atol=1e-5, rtol=1e-4)


def test_clipping_bounds_what_a_step_changes(wine: Dataset) -> None:
    values = {"epochs": 1, "batch_size": 4096, "optimizer": "sgd", "schedule": "constant"}
    begun = parameters(train_mlp(wine, **values, learning_rate=1e-30))
    steps = [
        float((parameters(train_mlp(wine, **values, l2=0.0, **clipped)) - begun).norm())
        for clipped in (
            {"learning_rate": 0.1},
            {"learning_rate": 0.1, "clip_norm": 0.01},
            {"learning_rate": 0.1, "clip_norm": 1e6},
        )
    ]
    nesterov = 1 + 0.9  # the first step's gradient counts for itself and for the momentum
    assert steps[1] == pytest.approx(0.1 * 0.01 * nesterov, rel=1e-3)
    assert steps[0] == steps[2] > steps[1]


def test_a_clipped_training_learns(wine: Dataset) -> None:
    assert evaluate(train_mlp(wine, clip_norm=0.1, epochs=20), wine.test)["accuracy"] >= 0.9


def test_bf16_learns_and_leaves_fp32_weights(wine: Dataset) -> None:
    trained = train_mlp(wine, precision="bf16", epochs=20)
    assert {p.dtype for p in trained.network.parameters()} == {torch.float32}
    assert evaluate(trained, wine.test)["accuracy"] >= 0.9
    assert not torch.equal(parameters(trained), parameters(train_mlp(wine, epochs=20)))


def test_fp16_on_a_cpu_is_refused_with_the_cure(wine: Dataset) -> None:
    with pytest.raises(Unsupported, match=r"'fp16' trains on CUDA alone.*choose 'bf16' or 'fp32'"):
        train_mlp(wine, precision="fp16")


def test_the_device_is_told(wine: Dataset) -> None:
    logged: list[tuple[str, str]] = []
    trained = train_mlp(wine, Watcher(on_log=lambda *line: logged.append(line)), epochs=1)
    assert len(logged) == 1
    assert re.fullmatch(r"on cpu \((1 thread|[0-9]+ threads)\) in fp32", logged[0][1])
    assert set(trained.environment) == {"torch", "threads", "processes", "device", "cpu"}
    assert (trained.environment["device"], trained.environment["processes"]) == ("cpu", "1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused_with_the_cure() -> None:
    with pytest.raises(Unsupported, match="sees 0 here: ask for 'auto' or 'cpu', or run a worker"):
        choose_device("cuda")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="device 'tpu': allowed are auto, cpu and cuda"):
        choose_device("tpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_learns_what_a_cpu_learns(precision: str) -> None:
    digits, architecture = load("digits"), find("lenet5")
    parsed = architecture.hyperparameters.parse({"epochs": 6, "precision": precision})
    trained = train(architecture, parsed, digits, 0, device=choose_device("cuda"))
    assert next(trained.network.parameters()).device.type == "cpu"
    assert evaluate(trained, digits.test)["accuracy"] >= 0.9


def test_random_numbers_have_their_place() -> None:
    seeds = {
        derived_seed(seed, purpose, place)
        for seed in (-1, 0, 1)
        for purpose in ("order", "dropout")
        for place in range(50)
    }
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    first, again = (torch.rand(3, generator=generator_of(1, "order", 2)) for _ in range(2))
    assert torch.equal(first, again)
