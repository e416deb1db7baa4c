"""One hidden layer comes as close to a function as it has units for."""

from __future__ import annotations

import numpy as np
import torch

from trainer.data.registry import load
from trainer.recipes.supervised import train
from trainer.zoo.registry import find


def largest_error(width: int) -> float:
    """On the interval, of the function itself, which training saw with noise."""
    dataset, architecture = load("function-sin"), find("mlp")
    values = {"hidden_sizes": [width], "l2": 0, "epochs": 150, "learning_rate": 0.02}
    trained = train(architecture, architecture.hyperparameters.parse(values), dataset, seed=0)
    with torch.no_grad():
        inputs = trained.preprocessing(torch.from_numpy(dataset.test.inputs))
        (answers,) = trained.task(trained.network(inputs))
    return float(np.abs(answers.numpy() - dataset.test.labels).max())


def test_the_error_falls_with_the_width() -> None:
    narrow, middling, wide = (largest_error(width) for width in (1, 4, 32))
    assert narrow > 2 * middling
    assert middling > 2 * wide
    assert wide < 0.1
