from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trainer.data.dataset import Dataset
from trainer.data.registry import load
from trainer.recipes.augmentation import random_affine
from trainer.recipes.evaluation import evaluate
from trainer.recipes.preprocessing import Preprocessing
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.recipes.watcher import Stopped, Watcher
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument


@pytest.fixture(scope="module")
def wine() -> Dataset:
    return load("wine")


def train_mlp(
    dataset: Dataset, seed: int = 0, watcher: Watcher | None = None, **values: Any
) -> Trained:
    architecture = find("mlp")
    hyperparameters = architecture.hyperparameters.parse({"epochs": 20, "batch_size": 16, **values})
    return train(architecture, hyperparameters, dataset, seed, watcher)


def weights(trained: Trained) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trained.network.parameters() if p.ndim > 1])


def test_it_learns(wine: Dataset) -> None:
    assert evaluate(train_mlp(wine), wine.test)["accuracy"] >= 0.9


def test_a_seed_decides_everything(wine: Dataset) -> None:
    first, again = (train_mlp(wine, seed=5, dropout=0.3) for _ in range(2))
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    assert not torch.equal(weights(first), weights(train_mlp(wine, seed=6, dropout=0.3)))


def test_augmented_training_is_deterministic_too() -> None:
    digits = load("digits")
    architecture = find("lenet5")
    hyperparameters = architecture.hyperparameters.parse({"epochs": 1, "batch_size": 256})
    first, again = (train(architecture, hyperparameters, digits, 0) for _ in range(2))
    assert torch.equal(weights(first), weights(again))


def test_the_best_epoch_is_kept_and_patience_ends_it(wine: Dataset) -> None:
    trained = train_mlp(
        wine, epochs=400, patience=5, schedule="constant", learning_rate=0.03, hidden_sizes=[64]
    )
    losses = [row["validation_loss"] for row in trained.history]
    assert len(losses) < 400
    assert len(losses) == trained.kept_epoch + 5
    assert min(losses) == losses[trained.kept_epoch - 1]
    assert evaluate(trained, wine.validation)["loss"] == pytest.approx(min(losses), rel=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        {},
        {"optimizer": "sgd", "learning_rate": 0.02},
        {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "schedule": "constant"},
    ],
    ids=["adam", "sgd", "plain sgd"],
)
def test_l1_makes_weights_zero(wine: Dataset, optimizer: dict[str, Any]) -> None:
    sparsity = []
    for l1 in (0.0, 1e-3, 1e-2):
        trained = train_mlp(wine, epochs=40, l1=l1, l2=0.0, **optimizer)
        sparsity.append(float((weights(trained) == 0).float().mean()))
    assert sparsity[0] == 0
    assert sparsity[0] < sparsity[1] < sparsity[2]
    assert sparsity[2] > 0.5
    assert evaluate(trained, wine.test)["accuracy"] >= 0.9


def test_l2_makes_weights_small(wine: Dataset) -> None:
    norms = [float(weights(train_mlp(wine, l2=l2, epochs=60)).norm()) for l2 in (0.0, 1e-2, 1e-1)]
    assert norms[0] > norms[1] > norms[2]


def test_biases_are_not_penalised(wine: Dataset) -> None:
    trained = train_mlp(wine, l1=10.0, l2=0.0, epochs=40)
    assert (weights(trained) == 0).all()
    biases = [p.detach() for p in trained.network.parameters() if p.ndim == 1]
    # What is left to the read-out's biases are the classes' frequencies.
    shares = torch.bincount(torch.from_numpy(wine.train.labels)) / len(wine.train)
    torch.testing.assert_close(biases[-1].softmax(0), shares, atol=0.05, rtol=0)


def test_dropout_is_off_when_evaluated(wine: Dataset) -> None:
    trained = train_mlp(wine, dropout=0.9, epochs=2)
    assert evaluate(trained, wine.test) == evaluate(trained, wine.test)


def test_it_stops_where_it_is_told(wine: Dataset) -> None:
    steps = []

    def on_step(step: int, _: int) -> None:
        steps.append(step)
        if step == 7:
            raise Stopped("enough")

    with pytest.raises(Stopped, match="enough"):
        train_mlp(wine, watcher=Watcher(on_step=on_step))
    assert steps == list(range(1, 8))


def test_each_epoch_is_told(wine: Dataset) -> None:
    told: list[tuple[int, Mapping[str, float]]] = []
    train_mlp(wine, epochs=3, watcher=Watcher(on_epoch=lambda *row: told.append(row)))
    assert [step for step, _ in told] == [8, 16, 24]
    assert all(
        {"train_loss", "validation_loss", "validation_accuracy", "learning_rate"} <= set(metrics)
        for _, metrics in told
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step", "plateau", "constant"])
def test_every_optimizer_and_schedule_learns(wine: Dataset, optimizer: str, schedule: str) -> None:
    trained = train_mlp(wine, optimizer=optimizer, schedule=schedule, learning_rate=0.02)
    assert trained.history[-1]["train_loss"] < 0.5 * trained.history[0]["train_loss"]


def test_an_exploding_training_says_so(wine: Dataset) -> None:
    with pytest.raises(InvalidArgument, match="try a learning_rate below 10") as caught:
        train_mlp(wine, optimizer="sgd", learning_rate=10, l2=10, schedule="constant")
    assert caught.value.field == "hyperparameters.learning_rate"


def test_one_step_is_a_training(wine: Dataset) -> None:
    for schedule in ("one_cycle", "cosine", "step", "plateau", "constant"):
        assert len(train_mlp(wine, epochs=1, batch_size=4096, schedule=schedule).history) == 1


def test_augmented_images_stay_images() -> None:
    images = torch.rand(16, 1, 28, 28)
    seen = random_affine(images, torch.Generator().manual_seed(0))
    assert seen.shape == images.shape
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert torch.equal(seen, random_affine(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(seen, images)


def test_preprocessing_standardises_the_training_data(wine: Dataset) -> None:
    seen = Preprocessing(wine)(torch.from_numpy(wine.train.inputs))
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(13), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(dim=0, correction=0), torch.ones(13), atol=1e-4, rtol=0)


def test_a_unit_is_no_matter(wine: Dataset) -> None:
    units = np.where(np.arange(13) % 2, 1e-9, 1e6).astype(np.float32)
    inputs = wine.train.inputs * units
    other = Preprocessing(replace(wine, train=replace(wine.train, inputs=inputs)))
    torch.testing.assert_close(
        other(torch.from_numpy(inputs)), Preprocessing(wine)(torch.from_numpy(wine.train.inputs)),
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


def test_small_images_are_repeated_and_padded() -> None:
    digits = load("digits")
    preprocessing = Preprocessing(digits, image_side=34)
    seen = preprocessing(torch.from_numpy(digits.train.inputs[:3])) * preprocessing.std
    seen = seen + preprocessing.mean
    assert seen.shape == (3, 1, 34, 34)
    assert seen[:, :, 0].abs().max() < 1e-6
    torch.testing.assert_close(
        seen[:, :, 1:33:4, 1:33:4], torch.from_numpy(digits.train.inputs[:3])
    )
