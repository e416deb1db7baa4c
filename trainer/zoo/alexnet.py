"""AlexNet.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
networks", NIPS 2012, §3.5 and Fig. 2. The torchvision variant is the one of Krizhevsky, "One
weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, footnote 1.

Departures from the paper: one device, whose two groups of channels stand for the two GPUs;
images of any size from 67 pixels, whose last maps are brought to 6x6 by means over windows
(227 pixels, the paper's size, have 6x6); He initialisation for a fixed spread. The paper
variant has layers of the paper's size and normalisation; the torchvision variant has neither
groups nor normalisation and takes the names and shapes of torchvision's state dict.
"""

from __future__ import annotations

from typing import Literal

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
from trainer.zoo.normalisation import LocalResponseNormalisation
from trainer.zoo.pooling import AdaptiveAveragePool
from trainer.zoo.registry import register
from trainer.zoo.width import Width, scaled

LAST_SIDE = 6


class AlexNetHyperparameters(ImageClassificationHyperparameters):
    variant: Literal["torchvision", "paper"] = "torchvision"
    """The network of torchvision, whose weights it takes, or that of the paper: two groups of
    channels and local response normalisation."""
    width: Width = 1.0
    dropout: Dropout = 0.5
    """Probability that an input of the first two dense layers is dropped in training."""
    epochs: Epochs = 30
    learning_rate: LearningRate = 3e-4
    l2: L2 = 5e-4


@register(
    "alexnet",
    summary="Five convolutions and three dense layers for photographs; 61 100 840 parameters",
    source="Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep CNNs, §3.5",
    tasks=("image-classification",),
    hyperparameters=AlexNetHyperparameters,
    min_image_side=67,
)
class AlexNet(nn.Module):
    """Torchvision's variant; 61 100 840 parameters for 1 000 classes.

    Shape:
        input:  (N, in_channels, H, W) float32, standardised; H, W ≥ 67. Shapes are for 224.
        output: (N, num_classes) float32, unnormalised logits.
    """

    head = ("classifier.6",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (scaled(c, width) for c in (64, 192, 384, 256, 256))
        units = scaled(4096, width)
        self.features = nn.Sequential(  # (N, C, 224, 224)
            nn.Conv2d(in_channels, c1, 11, stride=4, padding=2),  # (N, 64, 55, 55)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (N, 64, 27, 27)
            nn.Conv2d(c1, c2, 5, padding=2),  # (N, 192, 27, 27)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (N, 192, 13, 13)
            nn.Conv2d(c2, c3, 3, padding=1),  # (N, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1),  # (N, 256, 13, 13)
            nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
        )
        self.avgpool = AdaptiveAveragePool(LAST_SIDE)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(c5 * LAST_SIDE**2, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, num_classes),
        )
        initialise_for_relu(self)

    @classmethod
    def build(cls, hyperparameters: AlexNetHyperparameters, dataset: DatasetInfo) -> nn.Module:
        network = PaperAlexNet if hyperparameters.variant == "paper" else AlexNet
        return network(
            num_classes=len(dataset.class_labels),
            in_channels=dataset.input_shape[0],
            dropout=hyperparameters.dropout,
            width=hyperparameters.width,
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


class PaperAlexNet(nn.Module):
    """The paper's, as one device computes it; 60 965 224 parameters for 1 000 classes.

    Shape:
        input:  (N, in_channels, H, W) float32, standardised; H, W ≥ 67. Shapes are for 227.
        output: (N, num_classes) float32, unnormalised logits.
    """

    head = ("classifier.6",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = (scaled(c, width, multiple=2) for c in (96, 256, 384, 384, 256))
        units = scaled(4096, width)
        self.features = nn.Sequential(  # (N, C, 227, 227)
            nn.Conv2d(in_channels, c1, 11, stride=4),  # (N, 96, 55, 55)
            nn.ReLU(),
            LocalResponseNormalisation(),
            nn.MaxPool2d(3, stride=2),  # §3.4, overlapping: (N, 96, 27, 27)
            nn.Conv2d(c1, c2, 5, padding=2, groups=2),  # (N, 256, 27, 27)
            nn.ReLU(),
            LocalResponseNormalisation(),
            nn.MaxPool2d(3, stride=2),  # (N, 256, 13, 13)
            nn.Conv2d(c2, c3, 3, padding=1),  # sees both groups: (N, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=2),  # (N, 256, 13, 13)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (N, 256, 6, 6)
        )
        self.avgpool = AdaptiveAveragePool(LAST_SIDE)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),  # §4.2
            nn.Linear(c5 * LAST_SIDE**2, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, num_classes),
        )
        initialise_for_relu(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits
