"""VGG with 11, 13, 16 and 19 layers.

Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition",
ICLR 2015, §2.1 and Table 1. arXiv:1409.1556

Departures from the paper: He initialisation for the weights of a shallower network; images of
any size from 32 pixels, whose last maps are brought to 7x7 by means over windows (224 pixels,
the paper's size, have 7x7). Configuration C, with its 1x1 convolutions, is not here. Names and
shapes are those of torchvision's state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import (
    L2,
    Dropout,
    Epochs,
    ImageClassificationHyperparameters,
    LearningRate,
)
from trainer.zoo.initialisation import initialise_for_relu
from trainer.zoo.pooling import AdaptiveAveragePool
from trainer.zoo.registry import register
from trainer.zoo.width import Width, scaled

LAST_SIDE = 7

Stages = tuple[tuple[int, ...], ...]

# Table 1: channels of the 3x3 convolutions of each stage; max-pooling ends it.
A: Stages = ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2)
B: Stages = ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2)
D: Stages = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
E: Stages = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


class VGGHyperparameters(ImageClassificationHyperparameters):
    width: Width = 1.0
    dropout: Dropout = 0.5
    """Probability that a unit of the first two dense layers is dropped in training."""
    epochs: Epochs = 30
    learning_rate: LearningRate = 3e-4
    l2: L2 = 5e-4


class VGG(nn.Module):
    """Stages of 3x3 convolutions, and three dense layers.

    Shape:
        input:  (N, in_channels, H, W) float32, standardised; H, W ≥ 32. Shapes are for 224.
        output: (N, num_classes) float32, unnormalised logits.
    """

    head = ("classifier.6",)
    stages: ClassVar[Stages]

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        stages = [[scaled(c, width) for c in stage] for stage in self.stages]
        units = scaled(4096, width)
        self.features = _features(in_channels, stages)  # (N, 512, 7, 7)
        self.avgpool = AdaptiveAveragePool(LAST_SIDE)
        self.classifier = nn.Sequential(
            nn.Linear(stages[-1][-1] * LAST_SIDE**2, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, num_classes),
        )
        initialise_for_relu(self)

    @classmethod
    def build(cls, hyperparameters: VGGHyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            num_classes=len(dataset.class_labels),
            in_channels=dataset.input_shape[0],
            dropout=hyperparameters.dropout,
            width=hyperparameters.width,
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


def _features(in_channels: int, stages: Sequence[Sequence[int]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stage in stages:
        for channels in stage:
            layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
            in_channels = channels
        layers.append(nn.MaxPool2d(2))  # half of H and W
    return nn.Sequential(*layers)


_SOURCE = "Simonyan, Zisserman 2015, Very deep convolutional networks, Table 1"


@register(
    "vgg11",
    summary="Eight 3x3 convolutions and three dense layers; 132 863 336 parameters",
    source=f"{_SOURCE}, configuration A",
    tasks=("image-classification",),
    hyperparameters=VGGHyperparameters,
    min_image_side=32,
)
class VGG11(VGG):
    """Configuration A; 132 863 336 parameters for 1 000 classes."""

    stages = A


@register(
    "vgg13",
    summary="Ten 3x3 convolutions and three dense layers; 133 047 848 parameters",
    source=f"{_SOURCE}, configuration B",
    tasks=("image-classification",),
    hyperparameters=VGGHyperparameters,
    min_image_side=32,
)
class VGG13(VGG):
    """Configuration B; 133 047 848 parameters for 1 000 classes."""

    stages = B


@register(
    "vgg16",
    summary="Thirteen 3x3 convolutions and three dense layers; 138 357 544 parameters",
    source=f"{_SOURCE}, configuration D",
    tasks=("image-classification",),
    hyperparameters=VGGHyperparameters,
    min_image_side=32,
)
class VGG16(VGG):
    """Configuration D; 138 357 544 parameters for 1 000 classes."""

    stages = D


@register(
    "vgg19",
    summary="Sixteen 3x3 convolutions and three dense layers; 143 667 240 parameters",
    source=f"{_SOURCE}, configuration E",
    tasks=("image-classification",),
    hyperparameters=VGGHyperparameters,
    min_image_side=32,
)
class VGG19(VGG):
    """Configuration E; 143 667 240 parameters for 1 000 classes."""

    stages = E
