"""Losses and scores of each task, against scikit-learn and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from torch.nn import functional

from trainer.data.registry import load
from trainer.recipes.evaluation import evaluate
from trainer.recipes.supervised import train
from trainer.recipes.task import Task
from trainer.recipes.tasks import (
    Classification,
    Regression,
    Segmentation,
    class_weights,
    create_task,
)
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument


def measured(task: Task, answers: torch.Tensor, labels: Any, cuts: int = 3) -> dict[str, float]:
    """As a loop does: part by part."""
    targets = task.targets(labels)
    parts = zip(answers.tensor_split(cuts), targets.tensor_split(cuts), strict=True)
    tally = torch.stack([task.tally(*part) for part in parts]).sum(dim=0)
    return task.metrics(tally, len(labels))


def test_classes() -> None:
    logits, labels = torch.randn(50, 4), np.random.default_rng(0).integers(0, 4, 50)
    got = measured(Classification(), logits, labels)
    probabilities = logits.double().softmax(dim=1).numpy()
    assert got["accuracy"] == oracle.accuracy_score(labels, logits.argmax(dim=1))
    assert got["loss"] == pytest.approx(oracle.log_loss(labels, probabilities), rel=1e-5)
    served = Classification().served_tally({"logits": logits.numpy()}, labels)
    assert Classification().metrics(served, 50) == pytest.approx(got)


def test_smoothing_is_in_the_loss_that_is_learnt_and_not_in_the_one_that_is_told() -> None:
    logits, labels = torch.randn(50, 4), np.zeros(50, np.int64)
    plain, smooth = Classification(), Classification(smoothing=0.2)
    assert measured(plain, logits, labels) == measured(smooth, logits, labels)
    assert plain.loss(logits, plain.targets(labels)) != smooth.loss(logits, plain.targets(labels))


def test_pixels() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (10, 6, 5))
    logits = torch.randn(10, 4, 6, 5)  # a class that is never there, and is sometimes seen
    task = Segmentation(4, torch.tensor([1.0, 2.0, 0.5, 1.0]))
    got = measured(task, logits, labels)
    taken = logits.argmax(dim=1).numpy().ravel()
    wanted = oracle.jaccard_score(labels.ravel(), taken, average=None, labels=[0, 1, 2, 3])
    assert got["mean_iou"] == pytest.approx(wanted.mean())
    assert got["accuracy"] == oracle.accuracy_score(labels.ravel(), taken)
    loss = functional.cross_entropy(
        logits, torch.from_numpy(labels), weight=task.weights, reduction="sum"
    )
    assert got["loss"] == pytest.approx(float(loss) / labels.size, rel=1e-5)


def test_a_class_that_is_neither_there_nor_seen_says_nothing() -> None:
    labels = np.zeros((2, 4, 4), np.int64)
    logits = torch.zeros(2, 3, 4, 4)
    logits[:, 0] = 5.0
    assert measured(Segmentation(3, None), logits, labels)["mean_iou"] == 1.0


def test_masks_are_warped_as_their_images_are() -> None:
    from trainer.recipes.augmentation import draw_affine, warped

    images = torch.zeros(4, 1, 32, 32)
    images[:, :, 8:24, 10:20] = 1.0
    maps = draw_affine(4, torch.Generator().manual_seed(3))
    mask = Segmentation(2, None).warped(images[:, 0].long(), maps)
    assert mask.dtype == torch.int64
    differ = (warped(images, maps)[:, 0] > 0.5) != mask.bool()
    assert 0 < mask.sum() < mask.numel()
    assert differ.float().mean() < 0.02


def test_values() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.normal(size=(40, 2)) * [100.0, 0.1] + [1e4, 3.0]).astype(np.float32)
    task = Regression(labels)
    answers = torch.randn(40, 2)
    got = measured(task, answers, labels)
    (served,) = task(answers)
    assert got["r2"] == pytest.approx(oracle.r2_score(labels, served), rel=1e-4)
    assert got["mae"] == pytest.approx(oracle.mean_absolute_error(labels, served), rel=1e-4)
    squared = oracle.mean_squared_error(labels, served)
    assert got["rmse"] == pytest.approx(squared**0.5, rel=1e-4)
    assert measured(task, (task.targets(labels) - task.mean) / task.std, labels)[
        "r2"
    ] == pytest.approx(1.0)
    tally = task.served_tally({"value": served.numpy()}, labels)
    assert task.metrics(tally, 40) == pytest.approx(got, rel=1e-3)


def test_a_constant_value_is_no_division_by_zero() -> None:
    labels = np.full((6, 1), 7.0, np.float32)
    task = Regression(labels)
    got = measured(task, torch.zeros(6, 1), labels)
    assert got["r2"] == 0.0
    assert got["rmse"] == 0.0


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e9])
def test_what_rounding_alone_tells_apart_is_constant(value: float) -> None:
    labels = np.full((6, 1), value, np.float32)
    labels[0] = np.nextafter(labels[1], np.float32(np.inf))
    assert float(Regression(labels).std) == 1.0


@pytest.mark.parametrize("unit", [1e-15, 1e-7, 1.0, 1e12])
def test_values_are_learnt_in_any_unit(unit: float) -> None:
    labels = (unit * np.random.default_rng(0).normal(3.0, 1.0, (50, 1))).astype(np.float32)
    task = Regression(labels)
    standardised = (task.targets(labels) - task.mean) / task.std
    assert float(standardised.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


def test_class_weights() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] * 1)
    assert class_weights(labels, 3, "none") is None
    balanced = class_weights(labels, 3, "balanced")
    assert balanced is not None
    torch.testing.assert_close(balanced, torch.tensor([10 / 18, 10 / 9, 10 / 3]))
    assert float(balanced[torch.from_numpy(labels)].mean()) == pytest.approx(1.0)
    median = class_weights(labels, 3, "median_frequency")
    assert median is not None
    torch.testing.assert_close(median, torch.tensor([0.5, 1.0, 3.0]))
    absent = class_weights(labels, 5, "median_frequency")
    assert absent is not None
    assert torch.isfinite(absent).all()


def test_median_frequency_counts_the_pixels_of_images_that_have_the_class() -> None:
    masks = np.zeros((2, 2, 2), np.int64)  # class 0: 7 of 8 pixels; class 1: 1 of 4
    masks[0, 0, 0] = 1
    weights = class_weights(masks, 2, "median_frequency")
    assert weights is not None
    median = (7 / 8 + 1 / 4) / 2
    torch.testing.assert_close(weights, torch.tensor([median / (7 / 8), median / (1 / 4)]))


def test_a_rare_class_is_found_more_often_when_it_counts_more() -> None:
    wine = load("breast-cancer")
    rare = wine.train.labels == 0
    keep = ~rare | (np.cumsum(rare) <= 8)
    few = type(wine)(
        wine.info,
        type(wine.train)(wine.train.inputs[keep], wine.train.labels[keep]),
        wine.validation,
        wine.test,
    )
    architecture = find("mlp")
    found = []
    for kind in ("none", "balanced"):
        values = {"epochs": 10, "hidden_sizes": [], "learning_rate": 0.01, "class_weights": kind}
        trained = train(architecture, architecture.hyperparameters.parse(values), few, 0)
        inputs = torch.from_numpy(wine.test.inputs[wine.test.labels == 0])
        with torch.no_grad():
            answers = trained.network(trained.preprocessing(inputs)).argmax(dim=1)
        found.append(float((answers == 0).float().mean()))
    assert found[1] > found[0]


@pytest.mark.parametrize(
    ("name", "value"), [("label_smoothing", 0.1), ("class_weights", "balanced")]
)
def test_values_have_no_classes(name: str, value: Any) -> None:
    parsed = find("mlp").hyperparameters.parse({name: value})
    with pytest.raises(InvalidArgument, match=f"'{name}': function-sin has values and no classes"):
        create_task(load("function-sin"), parsed)


def test_auxiliary_heads_add_their_weighted_loss() -> None:
    from trainer.recipes.learning import Learner
    from trainer.recipes.ranks import ALONE
    from trainer.recipes.run import TrainingRun

    wine = load("wine")
    parsed = find("mlp").hyperparameters.parse({"batch_size": 16, "learning_rate": 1e-9})
    inputs = torch.nn.Flatten()

    class Headed(torch.nn.Module):
        def __init__(self, weight: float) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.main, self.other = torch.nn.Linear(13, 3), torch.nn.Linear(13, 3)
            self.auxiliary_weight = weight

        def forward(self, x: torch.Tensor) -> Any:
            return (self.main(x), self.other(x)) if self.training else self.main(x)

    losses = []
    for weight in (0.0, 0.3, 0.6):
        run = TrainingRun(Headed(weight), parsed, batches_per_epoch=8)
        learner = Learner(run, parsed, wine, inputs, create_task(wine, parsed), seed=0, ranks=ALONE)
        learner.learn(torch.arange(16))
        losses.append(float(run.loss_sum))
    assert losses[1] > losses[0]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-4)


def test_the_average_follows_slowly_and_is_what_is_kept() -> None:
    wine, architecture = load("wine"), find("mlp")

    def trained(**values: Any) -> Any:
        parsed = architecture.hyperparameters.parse(
            {"epochs": 10, "batch_size": 16, "schedule": "constant", **values}
        )
        return train(architecture, parsed, wine, 0)

    plain, average = trained(), trained(ema_decay=0.98)
    assert [r["train_loss"] for r in plain.history] == [r["train_loss"] for r in average.history]
    assert any(
        not torch.equal(a, b)
        for a, b in zip(plain.network.parameters(), average.network.parameters(), strict=True)
    )
    again = evaluate(average, wine.validation)["loss"]
    assert again == pytest.approx(average.history[-1]["validation_loss"], rel=1e-6)


def test_the_average_by_hand() -> None:
    from trainer.recipes.average import Average

    network = torch.nn.BatchNorm1d(1)
    average = Average(network, 0.5)
    assert average.network is not None
    expected = 1.0
    for step, value in enumerate((3.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0)):
        with torch.no_grad():
            network.weight.fill_(value)
            network.num_batches_tracked += 1
        average.follow(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert float(average.network.weight.detach()) == pytest.approx(expected, rel=1e-6)
    assert int(average.network.num_batches_tracked) == 10
    assert Average(network, 0.0).state_dict() is None


def test_values_are_exported_in_their_units_however_large() -> None:
    from dataclasses import replace

    from trainer.export.release import make_release
    from trainer.recipes.tasks import VALUE

    small = load("function-sin")

    def scaled(split: Any) -> Any:
        return replace(split, labels=split.labels * np.float32(1e6) + np.float32(5e6))

    large = replace(
        small,
        train=scaled(small.train),
        validation=scaled(small.validation),
        test=scaled(small.test),
    )
    parsed = find("mlp").hyperparameters.parse({"epochs": 40, "hidden_sizes": [32]})
    release = make_release(train(find("mlp"), parsed, large, 0), "sin", ("fp16",))
    metrics = release.fields.metrics
    assert metrics["test_r2"] > 0.7
    assert metrics["test_mae"] <= metrics["test_rmse"] < 5e5
    assert metrics["export_parity"] < 1e-5
    assert 100 < release.fields.tolerances["fp32"] < 700
    assert [(o.name, o.shape) for o in release.fields.outputs] == [(VALUE, (-1, 1))]
    assert {"card/learning-curves.png", "card/values.png"} <= set(release.files)


def test_batch_normalisation_needs_two_examples_in_each_part() -> None:
    digits, architecture = load("digits"), find("resnet18")
    size = len(digits.train)
    for values in ({"batch_size": size - 1}, {"batch_size": 8, "accumulate": 8}):
        parsed = architecture.hyperparameters.parse({"epochs": 1, "width": 0.1, **values})
        with pytest.raises(InvalidArgument, match="batch normalisation needs two examples"):
            train(architecture, parsed, digits, 0)
