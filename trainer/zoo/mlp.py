"""Multilayer perceptron.

Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors",
Nature 323, 1986. doi:10.1038/323533a0. Dropout: Srivastava et al., JMLR 15, 2014, §4.

Departures from the paper: ReLU for the logistic unit; cross-entropy on a linear read-out for
the squared error; He initialisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field
from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import L2, ClassificationHyperparameters, Dropout
from trainer.zoo.registry import register


class MLPHyperparameters(ClassificationHyperparameters):
    hidden_sizes: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(
        default=(64, 32), max_length=32
    )
    """Units of each hidden layer; an empty list is logistic regression."""
    dropout: Dropout = 0.0
    """Probability that a hidden unit is dropped in training."""
    l2: L2 = 0.01


@register(
    "mlp",
    summary="Fully connected layers of any number and width",
    source="Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors",
    tasks=("tabular-classification", "image-classification", "regression"),
    hyperparameters=MLPHyperparameters,
)
class MLP(nn.Module):
    """Dense layers with ReLU between.

    (in + 1)·out parameters a layer: 4 130 for 30 features, hidden sizes (64, 32) and 2 classes.

    Shape:
        input:  (N, …) float32, standardised; flattened to (N, in_features).
        output: (N, num_classes) float32, unnormalised logits or standardised values.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden_sizes: Sequence[int] = (64, 32),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]  # (N, in_features)
        for inputs, outputs in pairwise((in_features, *hidden_sizes)):
            dense = nn.Linear(inputs, outputs)  # (N, outputs)
            nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
            nn.init.zeros_(dense.bias)
            layers += [dense, nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear((in_features, *hidden_sizes)[-1], num_classes))
        self.layers = nn.Sequential(*layers)

    @classmethod
    def build(cls, hyperparameters: MLPHyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            in_features=math.prod(dataset.input_shape),
            num_classes=len(dataset.class_labels),
            hidden_sizes=hyperparameters.hidden_sizes,
            dropout=hyperparameters.dropout,
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits
