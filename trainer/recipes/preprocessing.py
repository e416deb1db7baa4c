"""From the values a client sends to the values a network sees; exported inside the graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.dataset import Dataset
from trainer.recipes.standardisation import mean_and_spread


class Preprocessing(nn.Module):
    """Standardises with the training data's statistics; brings images to the network's size.

    Images smaller than `image_side` are repeated pixel by pixel while that fits, then padded
    with background. Statistics are per channel for images and per feature for tables.

    Shape:
        input:  (N, C, H, W) or (N, F) float32, in the data set's units.
        output: (N, C, image_side, image_side) or (N, F) float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dataset: Dataset, image_side: int | None = None) -> None:
        super().__init__()
        inputs = torch.from_numpy(dataset.train.inputs)
        axes = [0, *range(2, inputs.ndim)]
        mean, std = mean_and_spread(inputs, axes)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.repeats, self.padding = 1, 0
        if image_side is not None:
            self.repeats, self.padding = divmod(image_side, inputs.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        if self.repeats > 1:  # (N, C, H, W) -> (N, C, rH, rW); reshape, since repeat_interleave
            n, c, h, w = x.shape  # freezes dynamic dimensions at export
            r = self.repeats
            x = x[:, :, :, None, :, None].expand(n, c, h, r, w, r).reshape(n, c, h * r, w * r)
        if self.padding:
            before, after = self.padding // 2, self.padding - self.padding // 2
            x = functional.pad(x, (before, after, before, after))
        return (x - self.mean) / self.std

    def describe(self) -> str:
        """In words, for the manifest."""
        steps = []
        if self.repeats > 1:
            steps.append(f"each pixel repeated {self.repeats}x{self.repeats}")
        if self.padding:
            steps.append(f"padded with 0 by {self.padding} pixels in height and width")
        steps.append("standardised with the training data's mean and standard deviation")
        return "; ".join(steps)


class AsSent(nn.Module):
    """What stands before a network that looks at values as clients send them: nothing.

    Shape:
        input, output: (N, …) float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x

    def describe(self) -> str:
        """In words, for the manifest."""
        return "none"
