"""Convolution with a kernel that is given: nothing is learnt.

Goodfellow, Bengio, Courville, "Deep learning", 2016, §9.1, eq. 9.4. The default kernel, the
Laplacian with diagonals, finds edges.

ONNX's Conv, like PyTorch's, is cross-correlation (eq. 9.6): the kernel is flipped beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import Hyperparameters
from trainer.zoo.registry import register

LAPLACIAN = ((-1.0, -1.0, -1.0), (-1.0, 8.0, -1.0), (-1.0, -1.0, -1.0))

Row = Annotated[tuple[float, ...], Field(min_length=1, max_length=64)]


class ConvolutionHyperparameters(Hyperparameters):
    kernel: tuple[Row, ...] = Field(default=LAPLACIAN, min_length=1, max_length=64)
    """The kernel's rows, all of one length."""
    mode: Literal["valid", "same"] = "valid"
    """The places where the kernel lies on the image whole, or as many as the image has: outside
    is 0. As in scipy.signal."""

    @field_validator("kernel")
    @classmethod
    def _is_rectangular(cls, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        if len({len(row) for row in rows}) > 1:
            raise ValueError("rows of one length")
        return rows


@register(
    "convolution",
    summary="Convolution of each channel with a kernel that you give; nothing is learnt",
    source="Goodfellow, Bengio, Courville 2016, Deep learning, §9.1",
    tasks=("image-classification", "segmentation"),
    hyperparameters=ConvolutionHyperparameters,
    is_fixed=True,
)
class Convolution(nn.Module):
    """One kernel over each channel; 9 parameters for a kernel of 3x3, none of them learnt.

    Shape:
        input:  (N, C, H, W) float32, as the client sends it.
        output: (N, C, H - h + 1, W - w + 1) float32 for a kernel of h x w, or (N, C, H, W).
    """

    def __init__(self, kernel: Sequence[Sequence[float]] = LAPLACIAN, mode: str = "valid") -> None:
        super().__init__()
        flipped = torch.tensor(kernel, dtype=torch.float32).flip(0, 1)
        self.kernel = nn.Parameter(flipped[None, None], requires_grad=False)  # (1, 1, h, w)
        height, width = flipped.shape
        # Of an even number of rows scipy's centre is the one above the middle.
        above, left = height - 1 - (height - 1) // 2, width - 1 - (width - 1) // 2
        sides = (left, width - 1 - left, above, height - 1 - above)
        self.padding = sides if mode == "same" else (0, 0, 0, 0)

    @classmethod
    def build(cls, hyperparameters: ConvolutionHyperparameters, dataset: DatasetInfo) -> Self:
        del dataset
        return cls(hyperparameters.kernel, hyperparameters.mode)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        if any(self.padding):
            x = functional.pad(x, self.padding)
        kernels = self.kernel.expand(channels, -1, -1, -1)
        return functional.conv2d(x, kernels, groups=channels)
