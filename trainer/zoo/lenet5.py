"""LeNet-5.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), 1998, §II-B and Fig. 2. doi:10.1109/5.726791

Departures from the paper: ReLU for the scaled tanh; max-pooling for the trainable
sub-sampling; C3 connected to all six S2 maps (paper: Table I); a linear read-out for the
RBF output layer; dropout, off by default, before F6 and the read-out; stochastic pooling (Zeiler,
Fergus 2013) where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import (
    Dropout,
    Epochs,
    ImageClassificationHyperparameters,
    LearningRate,
)
from trainer.zoo.pooling import StochasticPool
from trainer.zoo.registry import register


class LeNet5Hyperparameters(ImageClassificationHyperparameters):
    dropout: Dropout = 0.0
    """Probability that a unit of C5 and F6 is dropped in training."""
    pooling: Literal["max", "stochastic"] = "max"
    """The largest value of a window, or in training one drawn with a probability in proportion to
    it, and in use the mean of such draws (Zeiler, Fergus 2013)."""
    epochs: Epochs = 30
    learning_rate: LearningRate = 6e-3


@register(
    "lenet5",
    summary="Two convolutions and three dense layers for small images; 61 706 parameters",
    source="LeCun et al. 1998, Gradient-based learning applied to document recognition, §II-B",
    tasks=("image-classification",),
    hyperparameters=LeNet5Hyperparameters,
    image_side=32,
)
class LeNet5(nn.Module):
    """Two convolutions and three dense layers; 61 706 parameters for ten classes.

    Shape:
        input:  (N, in_channels, 32, 32) float32, standardised.
        output: (N, num_classes) float32, unnormalised logits.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        dropout: float = 0.0,
        pooling: Callable[[int], nn.Module] = nn.MaxPool2d,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(  # (N, C, 32, 32)
            nn.Conv2d(in_channels, 6, 5),  # C1: (N, 6, 28, 28)
            nn.ReLU(),
            pooling(2),  # S2: (N, 6, 14, 14)
            nn.Conv2d(6, 16, 5),  # C3: (N, 16, 10, 10)
            nn.ReLU(),
            pooling(2),  # S4: (N, 16, 5, 5)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),  # (N, 400)
            nn.Linear(400, 120),  # C5
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(120, 84),  # F6
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(84, num_classes),
        )

    @classmethod
    def build(cls, hyperparameters: LeNet5Hyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            num_classes=len(dataset.class_labels),
            in_channels=dataset.input_shape[0],
            dropout=hyperparameters.dropout,
            pooling=StochasticPool if hyperparameters.pooling == "stochastic" else nn.MaxPool2d,
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x))
        return logits
