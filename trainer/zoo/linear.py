"""Linear and logistic regression: one layer, no hidden units.

Legendre, "Nouvelles méthodes pour la détermination des orbites des comètes", 1805, appendix
(least squares); Cox, "The regression analysis of binary sequences", JRSS B 20(2), 1958, §2.

Departures: both are fitted by gradient descent, not in closed form or by Newton's method. With
K classes there are K logits, also where there are two: with l2 = λ their difference is what
logistic regression with a penalty of λ/2 on its one weight vector gives.
"""

from __future__ import annotations

import math
from typing import Literal, Self

from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import (
    L2,
    ClassificationHyperparameters,
    Epochs,
    LearningRate,
)
from trainer.zoo.registry import register


class LinearHyperparameters(ClassificationHyperparameters):
    epochs: Epochs = 200
    learning_rate: LearningRate = 3e-2
    schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] = "cosine"
    """How the learning rate runs; cosine comes to rest at the optimum, for the loss is convex."""
    l2: L2 = 0.005


@register(
    "linear",
    summary="Linear regression, or logistic regression where there are classes",
    source="Cox 1958, The regression analysis of binary sequences; Legendre 1805, least squares",
    tasks=("regression", "tabular-classification", "image-classification"),
    hyperparameters=LinearHyperparameters,
)
class Linear(nn.Module):
    """One dense layer; (in + 1)·out parameters: 62 for 30 features and 2 classes.

    Shape:
        input:  (N, …) float32, standardised; flattened to (N, in_features).
        output: (N, num_classes) float32, unnormalised logits or standardised values.
    """

    head = ("layer",)

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()  # (N, in_features)
        self.layer = nn.Linear(in_features, num_classes)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    @classmethod
    def build(cls, hyperparameters: LinearHyperparameters, dataset: DatasetInfo) -> Self:
        del hyperparameters
        return cls(math.prod(dataset.input_shape), len(dataset.class_labels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.flatten(x))
        return out
