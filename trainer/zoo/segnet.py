"""SegNet.

Badrinarayanan, Kendall, Cipolla, "SegNet: a deep convolutional encoder-decoder architecture for
image segmentation", PAMI 39(12), 2017, §3 and Fig. 2. arXiv:1511.00561

Departures from the paper: He initialisation for a pretrained encoder; images of any size, which
are padded with their edges to what five halvings need, and the answer cut again. A maximum's
place is kept as one of four in its window, which is what unpooling needs to know of an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import Epochs, LearningRate, SegmentationHyperparameters
from trainer.zoo.initialisation import initialise_for_relu
from trainer.zoo.pooling import IndexedMaxPool, MaxUnpool
from trainer.zoo.registry import register
from trainer.zoo.width import Width, scaled

# §3: the convolutions of VGG16, configuration D.
STAGES = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)


class SegNetHyperparameters(SegmentationHyperparameters):
    width: Width = 0.25
    stages: int = Field(default=4, ge=1, le=len(STAGES))
    """Halvings of the image before it is doubled again; the paper has 5."""
    epochs: Epochs = 20
    batch_size: int = Field(default=16, ge=1, le=4096)
    """Examples per step."""
    learning_rate: LearningRate = 3e-3


@register(
    "segnet",
    summary="An encoder and a decoder that remembers where maxima were: the class of each pixel",
    source="Badrinarayanan, Kendall, Cipolla 2017, SegNet, §3 and Fig. 2",
    tasks=("segmentation",),
    hyperparameters=SegNetHyperparameters,
)
class SegNet(nn.Module):
    """Thirteen convolutions down and thirteen up; 29 449 932 parameters for colour images and 12
    classes with the paper's five stages and width.

    Shape:
        input:  (N, in_channels, H, W) float32, standardised.
        output: (N, num_classes, H, W) float32, unnormalised logits of each pixel.
    """

    def __init__(
        self, num_classes: int = 12, in_channels: int = 3, width: float = 1.0, stages: int = 5
    ) -> None:
        super().__init__()
        self._multiple = 2**stages
        channels = [[scaled(c, width) for c in stage] for stage in STAGES[:stages]]
        self.pool, self.unpool = IndexedMaxPool(), MaxUnpool()
        inputs = [in_channels, *(stage[-1] for stage in channels)]
        self.encoder = nn.ModuleList(
            _convolutions(before, stage)  # (N, C, H/2^i, W/2^i)
            for before, stage in zip(inputs, channels, strict=False)
        )
        # Each stage of the decoder ends with the channels that its mirror image began with.
        self.decoder = nn.ModuleList(
            _convolutions(stage[-1], [*stage[:-1], before])
            for before, stage in reversed(list(zip(inputs[1:-1], channels[1:], strict=True)))
        )
        self.last = _convolutions(channels[0][-1], channels[0][:-1])
        self.read_out = nn.Conv2d(channels[0][-1], num_classes, 3, padding=1)
        initialise_for_relu(self)
        self.head = ("read_out",)

    @classmethod
    def build(cls, hyperparameters: SegNetHyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            num_classes=len(dataset.class_labels),
            in_channels=dataset.input_shape[0],
            width=hyperparameters.width,
            stages=hyperparameters.stages,
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        below, beside = -height % self._multiple, -width % self._multiple
        if below or beside:
            x = functional.pad(x, (0, beside, 0, below), mode="replicate")
        places = []
        for stage in self.encoder:
            x, where = self.pool(stage(x))
            places.append(where)
        for stage in (*self.decoder, self.last):
            x = stage(self.unpool(x, places.pop()))
        logits: Tensor = self.read_out(x)
        return logits[..., :height, :width]


def _convolutions(in_channels: int, channels: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for out_channels in channels:
        layers += [
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        ]
        in_channels = out_channels
    return nn.Sequential(*layers)
