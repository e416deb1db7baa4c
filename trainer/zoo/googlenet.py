"""GoogLeNet.

Szegedy et al., "Going deeper with convolutions", CVPR 2015, §5, Table 1 and Fig. 3.
arXiv:1409.4842

Departures from the paper: images of any size from 64 pixels (the auxiliary classifiers see means
over 4x4 windows, which at 224 pixels differ from the paper's 5x5 windows at a stride of 3).
The torchvision variant further has batch normalisation after each convolution in place of biases
and of local response normalisation, 3x3 convolutions where the paper has 5x5, and a last
max-pooling over 2x2; names and shapes are those of torchvision's state dict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
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

# Table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

Convolution = Callable[[int, int, int, int], nn.Module]
"""Of input channels, output channels, kernel side and stride; it keeps or divides the size."""


class GoogLeNetHyperparameters(ImageClassificationHyperparameters):
    variant: Literal["torchvision", "paper"] = "torchvision"
    """The network of torchvision, whose weights it takes, or that of the paper, without batch
    normalisation."""
    width: Width = 1.0
    dropout: Dropout = 0.4
    """Probability that an input of the read-out is dropped in training."""
    auxiliary_weight: float = Field(default=0.3, ge=0, le=1)
    """Weight in the loss of each of the two auxiliary classifiers, which are there in training
    alone; 0 trains without them."""
    epochs: Epochs = 30
    learning_rate: LearningRate = 1e-3
    l2: L2 = 1e-4


class NormalisedConvolution(nn.Module):
    """A convolution, batch normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, side, stride=stride, padding=side // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class PlainConvolution(nn.Module):
    """A convolution and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, side, stride=stride, padding=side // 2)
        self.relu = nn.ReLU()
        initialise_for_relu(self)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.conv(x))
        return out


class Inception(nn.Module):
    """Four branches beside each other (Fig. 2b): (N, C, H, W) → (N, out_channels, H, W)."""

    def __init__(
        self,
        convolution: Convolution,
        in_channels: int,
        channels: tuple[int, ...],
        side: int,
    ) -> None:
        super().__init__()
        one, three_reduce, three, five_reduce, five, projection = channels
        self.branch1 = convolution(in_channels, one, 1, 1)
        self.branch2 = nn.Sequential(
            convolution(in_channels, three_reduce, 1, 1), convolution(three_reduce, three, 3, 1)
        )
        self.branch3 = nn.Sequential(
            convolution(in_channels, five_reduce, 1, 1), convolution(five_reduce, five, side, 1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), convolution(in_channels, projection, 1, 1)
        )
        self.out_channels = one + three + five + projection

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


class AuxiliaryClassifier(nn.Module):
    """A classifier on the side (§5): (N, C, H, W) → logits (N, num_classes)."""

    def __init__(
        self, convolution: Convolution, in_channels: int, num_classes: int, width: float
    ) -> None:
        super().__init__()
        channels, units = scaled(128, width), scaled(1024, width)
        self.avgpool = AdaptiveAveragePool(4)
        self.conv = convolution(in_channels, channels, 1, 1)
        self.fc1 = nn.Linear(channels * 4 * 4, units)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(units, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.avgpool(x)).flatten(1)
        logits: Tensor = self.fc2(self.dropout(self.relu(self.fc1(x))))
        return logits


class _Layout(nn.Module):
    """What both variants share: nine inception blocks and two auxiliary classifiers."""

    head = ("fc", "aux1.fc2", "aux2.fc2")
    conv1: nn.Module
    conv2: nn.Module
    conv3: nn.Module
    inception3a: Inception
    inception3b: Inception
    inception4a: Inception
    inception4b: Inception
    inception4c: Inception
    inception4d: Inception
    inception4e: Inception
    inception5a: Inception
    inception5b: Inception

    def __init__(
        self,
        convolution: Convolution,
        side: int,
        last_pool: nn.Module,
        normalisation: Callable[[], nn.Module],
        *,
        num_classes: int,
        in_channels: int,
        dropout: float,
        width: float,
        auxiliary_weight: float,
    ) -> None:
        super().__init__()
        first, second = scaled(64, width), scaled(192, width)
        self.auxiliary_weight = auxiliary_weight
        self.conv1 = convolution(in_channels, first, 7, 2)  # (N, 64, 112, 112)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # (N, 64, 56, 56)
        self.norm1 = normalisation()
        self.conv2 = convolution(first, first, 1, 1)
        self.conv3 = convolution(first, second, 3, 1)  # (N, 192, 56, 56)
        self.norm2 = normalisation()
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # (N, 192, 28, 28)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = last_pool
        channels, widths = second, {}
        for name, row in INCEPTIONS.items():
            block = Inception(convolution, channels, tuple(scaled(c, width) for c in row), side)
            self.add_module(f"inception{name}", block)
            widths[name] = channels = block.out_channels
        self.aux1 = AuxiliaryClassifier(convolution, widths["4a"], num_classes, width)
        self.aux2 = AuxiliaryClassifier(convolution, widths["4d"], num_classes, width)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = self.norm1(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        x = self.inception3b(self.inception3a(x))  # (N, 480, 28, 28)
        x = after_4a = self.inception4a(self.maxpool3(x))  # (N, 512, 14, 14)
        x = after_4d = self.inception4d(self.inception4c(self.inception4b(x)))  # (N, 528, 14, 14)
        x = self.maxpool4(self.inception4e(x))  # (N, 832, 7, 7)
        x = self.inception5b(self.inception5a(x))  # (N, 1024, 7, 7)
        logits: Tensor = self.fc(self.dropout(x.mean(dim=(2, 3))))
        if not (self.training and self.auxiliary_weight):
            return logits
        return logits, self.aux1(after_4a), self.aux2(after_4d)


@register(
    "googlenet",
    summary="Nine inception blocks; 6 624 904 parameters, 13 004 888 while it is trained",
    source="Szegedy et al. 2015, Going deeper with convolutions, Table 1",
    tasks=("image-classification",),
    hyperparameters=GoogLeNetHyperparameters,
    min_image_side=64,
)
class GoogLeNet(_Layout):
    """Torchvision's variant; 13 004 888 parameters for 1 000 classes with the auxiliary
    classifiers, 6 624 904 without, as it is served.

    Shape:
        input:  (N, in_channels, H, W) float32, standardised; H, W ≥ 64. Shapes are for 224.
        output: (N, num_classes) float32, unnormalised logits; in training a tuple of three, the
            auxiliary classifiers' behind.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        width: float = 1.0,
        auxiliary_weight: float = 0.3,
    ) -> None:
        super().__init__(
            NormalisedConvolution,
            3,
            nn.MaxPool2d(2, stride=2, ceil_mode=True),
            nn.Identity,
            num_classes=num_classes,
            in_channels=in_channels,
            dropout=dropout,
            width=width,
            auxiliary_weight=auxiliary_weight,
        )

    @classmethod
    def build(cls, hyperparameters: GoogLeNetHyperparameters, dataset: DatasetInfo) -> nn.Module:
        network = PaperGoogLeNet if hyperparameters.variant == "paper" else GoogLeNet
        return network(
            num_classes=len(dataset.class_labels),
            in_channels=dataset.input_shape[0],
            dropout=hyperparameters.dropout,
            width=hyperparameters.width,
            auxiliary_weight=hyperparameters.auxiliary_weight,
        )


class PaperGoogLeNet(_Layout):
    """The paper's; 13 378 280 parameters for 1 000 classes with the auxiliary classifiers,
    6 998 552 without, as it is served.

    Shape:
        as `GoogLeNet`'s.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.4,
        width: float = 1.0,
        auxiliary_weight: float = 0.3,
    ) -> None:
        super().__init__(
            PlainConvolution,
            5,
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            LocalResponseNormalisation,
            num_classes=num_classes,
            in_channels=in_channels,
            dropout=dropout,
            width=width,
            auxiliary_weight=auxiliary_weight,
        )
