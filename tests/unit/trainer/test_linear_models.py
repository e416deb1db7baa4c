"""Linear models against scikit-learn's, and the perceptron against its theorem."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.linear_model import Perceptron as TheirPerceptron
from sklearn.preprocessing import StandardScaler

from trainer.data.dataset import Dataset, DatasetInfo, Split
from trainer.data.registry import load
from trainer.recipes.evaluation import evaluate
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.zoo.registry import find


def trained_on(name: str, dataset: Dataset, seed: int = 0, **values: object) -> Trained:
    architecture = find(name)
    return train(architecture, architecture.hyperparameters.parse(values), dataset, seed)


def test_values_are_those_of_least_squares() -> None:
    dataset = load("diabetes")
    ours = trained_on("linear", dataset, l2=0)
    theirs = LinearRegression().fit(dataset.train.inputs, dataset.train.labels)
    expected = theirs.score(dataset.test.inputs, dataset.test.labels)
    assert evaluate(ours, dataset.test)["r2"] == pytest.approx(expected, abs=0.01)


def test_classes_are_those_of_logistic_regression() -> None:
    dataset = load("breast-cancer")
    c = 1.0
    # Two logits share what is one weight vector there: each has half of it.
    ours = trained_on("linear", dataset, l2=2 / (c * len(dataset.train)), epochs=200)
    scale = StandardScaler().fit(dataset.train.inputs)
    theirs = LogisticRegression(C=c, max_iter=10_000)
    theirs.fit(scale.transform(dataset.train.inputs), dataset.train.labels)
    expected = theirs.score(scale.transform(dataset.test.inputs), dataset.test.labels)
    assert evaluate(ours, dataset.test)["accuracy"] == pytest.approx(expected, abs=0.01)
    layer = dict(ours.network.named_parameters())["layer.weight"]
    difference = (layer[1] - layer[0]).detach().numpy()
    np.testing.assert_allclose(difference, theirs.coef_[0], atol=0.05)


def apart(size: int) -> Dataset:
    """Two clouds that a line separates."""
    generator = np.random.default_rng(0)

    def part(count: int) -> Split:
        labels = np.arange(count) % 2
        points = generator.uniform(-1, 1, (count, 2)) + np.where(labels, 1.1, -1.1)[:, None]
        return Split(points.astype(np.float32), labels.astype(np.int64))

    info = DatasetInfo(
        name="apart", summary="", source="", task="tabular-classification", input_name="x",
        input_shape=(2,), units="", value_range=None, class_labels=("a", "b"),
        split_sizes={"train": size, "validation": size, "test": size},
    )  # fmt: skip
    return Dataset(info, train=part(size), validation=part(size), test=part(size))


def test_the_perceptron_makes_no_mistake_where_a_line_separates() -> None:
    dataset = apart(64)
    for seed in range(3):
        ours = trained_on("perceptron", dataset, seed, epochs=10, batch_size=1)
        assert evaluate(ours, dataset.train)["accuracy"] == 1


def test_the_perceptron_is_as_good_as_theirs_elsewhere() -> None:
    dataset = load("breast-cancer")
    scale = StandardScaler().fit(dataset.train.inputs)
    theirs = TheirPerceptron().fit(scale.transform(dataset.train.inputs), dataset.train.labels)
    expected = theirs.score(scale.transform(dataset.test.inputs), dataset.test.labels)
    ours = trained_on("perceptron", dataset, epochs=40)
    assert evaluate(ours, dataset.test)["accuracy"] >= expected - 0.02
