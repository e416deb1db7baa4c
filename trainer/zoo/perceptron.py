"""The perceptron.

Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in
the brain", Psychological Review 65(6), 1958; the rule for several classes: Duda, Hart, "Pattern
classification and scene analysis", 1973, §5.12.1 (Kesler's construction).

Departures: the threshold is the choice of the largest of K scores, so that a score stays to be
looked at; the rule, which corrects the scores of the right and of the chosen class where they
differ, is written as the gradient of Σ max(0, max_k s_k - s_y).
"""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field
from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import ClassificationHyperparameters, Epochs, LearningRate
from trainer.zoo.registry import register


class PerceptronHyperparameters(ClassificationHyperparameters):
    epochs: Epochs = 100
    batch_size: int = Field(default=16, ge=1, le=4096)
    """Examples per step; Rosenblatt's rule looks at one."""
    learning_rate: LearningRate = 1e-1
    optimizer: Literal["adam", "sgd"] = "sgd"
    """The rule is stochastic gradient descent on the perceptron's loss; Adam is not the rule."""


@register(
    "perceptron",
    summary="Rosenblatt's perceptron: a linear score for each class, corrected by its mistakes",
    source="Rosenblatt 1958, The perceptron; Duda, Hart 1973, §5.12.1",
    tasks=("tabular-classification", "image-classification"),
    hyperparameters=PerceptronHyperparameters,
)
class Perceptron(nn.Module):
    """One dense layer; (in + 1)·out parameters: 62 for 30 features and 2 classes.

    Shape:
        input:  (N, …) float32, standardised; flattened to (N, in_features).
        output: (N, num_classes) float32, scores, of which the largest decides.
    """

    head = ("layer",)

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()  # (N, in_features)
        self.layer = nn.Linear(in_features, num_classes)

    @classmethod
    def build(cls, hyperparameters: PerceptronHyperparameters, dataset: DatasetInfo) -> Self:
        del hyperparameters
        return cls(math.prod(dataset.input_shape), len(dataset.class_labels))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(self.flatten(x))
        return scores

    @staticmethod
    def loss(scores: Tensor, classes: Tensor) -> Tensor:
        """The perceptron's loss, summed over the examples; 0 where all are right."""
        right = scores.gather(1, classes[:, None]).squeeze(1)
        return (scores.amax(dim=1) - right).sum()
