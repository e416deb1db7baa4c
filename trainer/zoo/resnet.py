"""Residual networks with 18 and 50 layers.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, Table 1 and
Fig. 5. arXiv:1512.03385

Departures from the paper: a bottleneck halves the size in its 3x3 convolution, not in its first
1x1 (Goyal et al. 2017, §5.1); images of any size from 64 pixels. Names and shapes are those of
torchvision's state dict.
"""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import (
    L2,
    Epochs,
    ImageClassificationHyperparameters,
    LearningRate,
)
from trainer.zoo.registry import register
from trainer.zoo.width import Width, scaled


class ResNetHyperparameters(ImageClassificationHyperparameters):
    width: Width = 1.0
    epochs: Epochs = 30
    learning_rate: LearningRate = 1e-3
    l2: L2 = 1e-4


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (Fig. 5 left): (N, C, H, W) → (N, D, H/s, W/s)."""

    expansion: ClassVar = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (Fig. 5 right), with four times the
    channels at its end: (N, C, H, W) → (N, 4D, H/s, W/s).
    """

    expansion: ClassVar = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A projection (§3.3, option B) where the shapes differ."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class ResNet(nn.Module):
    """Four stages of residual blocks, the mean of each map, and a dense layer.

    Shape:
        input:  (N, in_channels, H, W) float32, standardised; H, W ≥ 64. Shapes are for 224.
        output: (N, num_classes) float32, unnormalised logits.
    """

    head = ("fc",)
    block: ClassVar[type[BasicBlock] | type[Bottleneck]]
    blocks: ClassVar[tuple[int, int, int, int]]

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        channels = [scaled(c, width) for c in (64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(in_channels, channels[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])  # (N, 64, 112, 112)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)  # (N, 64, 56, 56)
        self.layer1 = self._stage(channels[0], channels[0], self.blocks[0], 1)  # conv2_x: 56
        expanded = [c * self.block.expansion for c in channels]
        self.layer2 = self._stage(expanded[0], channels[1], self.blocks[1], 2)  # conv3_x: 28
        self.layer3 = self._stage(expanded[1], channels[2], self.blocks[2], 2)  # conv4_x: 14
        self.layer4 = self._stage(expanded[2], channels[3], self.blocks[3], 2)  # conv5_x: 7
        self.fc = nn.Linear(expanded[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = self.block(in_channels, channels, stride)
        others = (
            self.block(channels * self.block.expansion, channels, 1) for _ in range(blocks - 1)
        )
        return nn.Sequential(first, *others)

    @classmethod
    def build(cls, hyperparameters: ResNetHyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            num_classes=len(dataset.class_labels),
            in_channels=dataset.input_shape[0],
            width=hyperparameters.width,
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


@register(
    "resnet18",
    summary="Eight residual blocks of two 3x3 convolutions; 11 689 512 parameters",
    source="He, Zhang, Ren, Sun 2016, Deep residual learning for image recognition, Table 1",
    tasks=("image-classification",),
    hyperparameters=ResNetHyperparameters,
    min_image_side=64,
)
class ResNet18(ResNet):
    """Eighteen layers; 11 689 512 parameters for 1 000 classes."""

    block, blocks = BasicBlock, (2, 2, 2, 2)


@register(
    "resnet50",
    summary="Sixteen residual bottlenecks of three convolutions; 25 557 032 parameters",
    source="He, Zhang, Ren, Sun 2016, Deep residual learning for image recognition, Table 1",
    tasks=("image-classification",),
    hyperparameters=ResNetHyperparameters,
    min_image_side=64,
)
class ResNet50(ResNet):
    """Fifty layers; 25 557 032 parameters for 1 000 classes."""

    block, blocks = Bottleneck, (3, 4, 6, 3)
