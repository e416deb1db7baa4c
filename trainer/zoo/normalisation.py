"""Local response normalisation, in operators that every ONNX runtime has."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LocalResponseNormalisation(nn.Module):
    """Divides each value by a power of the squares at its place in the neighbouring channels.

    b_i = a_i / (k + α·Σ a_j²)^β over the `size` channels j around i; Krizhevsky, Sutskever,
    Hinton, NIPS 2012, §3.3. (`nn.LocalResponseNorm` has α divided by `size`.)

    Shape:
        input, output: (N, C, H, W)
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        before = self.size // 2
        squares = functional.pad(x * x, (0, 0, 0, 0, before, self.size - 1 - before))
        around = squares[:, :channels]
        for shift in range(1, self.size):
            around = around + squares[:, shift : shift + channels]
        return x * torch.pow(self.k + self.alpha * around, -self.beta)
