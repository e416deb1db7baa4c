"""Pooling in operators that every ONNX runtime has and that a backward pass can be taken through.

The exporter writes adaptive pooling as gathers of indices; here it is a matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AdaptiveAveragePool(nn.Module):
    """As `nn.AdaptiveAvgPool2d`: means over windows that overlap by as little as they can.

    Shape:
        input:  (N, C, H, W)
        output: (N, C, side, side); the input itself where H = W = side.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height != self.side:
            x = torch.matmul(_windows(height, self.side).to(x), x)  # (N, C, side, W)
        if width != self.side:
            x = torch.matmul(x, _windows(width, self.side).to(x).T)  # (N, C, side, side)
        return x


def _windows(length: int, parts: int) -> Tensor:
    """(parts, length): row i is the mean over [⌊i·length/parts⌋, ⌈(i+1)·length/parts⌉)."""
    place, part = torch.arange(length), torch.arange(parts)[:, None]
    starts = part * length // parts
    ends = ((part + 1) * length + parts - 1) // parts
    inside = ((place >= starts) & (place < ends)).float()
    return inside / inside.sum(dim=1, keepdim=True)


class IndexedMaxPool(nn.Module):
    """Max-pooling over 2x2 that remembers where each maximum was: the first of equal ones.

    An exported graph has the places as one of four for each window, which takes no operator that
    is hard to find; PyTorch's own indices are five times as fast to train with.

    Shape:
        input:  (N, C, H, W), both sides even.
        output: values (N, C, H/2, W/2), and their places, for `MaxUnpool`.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_exporting():
            return pool_of_four(x)
        values, indices = functional.max_pool2d(x, 2, return_indices=True)
        return values, indices


class MaxUnpool(nn.Module):
    """Puts values where the maxima were, and 0 elsewhere.

    Shape:
        input:  values (N, C, H/2, W/2), and places from `IndexedMaxPool`.
        output: (N, C, H, W).
    """

    def forward(self, values: Tensor, places: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return unpool_of_four(values, places)
        n, c, h, w = values.shape  # `max_unpool2d` would not be the same bits each time
        empty = values.new_zeros(n, c, 4 * h * w)
        return empty.scatter(2, places.flatten(2), values.flatten(2)).reshape(n, c, 2 * h, 2 * w)


def pool_of_four(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima of windows and their places, (N, C, H/2, W/2, 4) of 0 and 1."""
    n, c, h, w = x.shape
    windows = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(3, 4)
    windows = windows.reshape(n, c, h // 2, w // 2, 4)
    which = windows.argmax(dim=-1, keepdim=True)
    places = (which == torch.arange(4, device=x.device)).to(x.dtype)
    # Not `amax`, whose gradient goes to all of equal values where that of a max-pool goes to one.
    return (windows * places).sum(dim=-1), places


def unpool_of_four(values: Tensor, places: Tensor) -> Tensor:
    """What `pool_of_four` took apart, with 0 where there was no maximum: (N, C, H, W)."""
    n, c, h, w = values.shape
    windows = (values[..., None] * places).reshape(n, c, h, w, 2, 2).transpose(3, 4)
    return windows.reshape(n, c, 2 * h, 2 * w)


class StochasticPool(nn.Module):
    """Stochastic pooling over windows that do not overlap, of values that are not negative.

    Zeiler, Fergus, "Stochastic pooling for regularization of deep convolutional neural
    networks", ICLR 2013, §3. arXiv:1301.3557

    In training a window answers one of its values, drawn with probabilities p = a / Σ a (eq. 4);
    in use Σ p·a, the mean of such draws (eq. 6). A window of zeros answers 0.

    Shape:
        input:  (N, C, H, W) ≥ 0, both sides multiples of `side`.
        output: (N, C, H/side, W/side)
    """

    def __init__(self, side: int = 2) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        s = self.side
        windows = x.reshape(n, c, h // s, s, w // s, s).transpose(3, 4)
        windows = windows.reshape(n, c, h // s, w // s, s * s)
        total = windows.sum(dim=-1, keepdim=True)
        # Of a window of zeros any share will do: what is drawn from it is 0.
        shares = windows / torch.where(total > 0, total, torch.ones_like(total))
        if not self.training:
            return (shares * windows).sum(dim=-1)
        steps = shares.detach().cumsum(dim=-1)
        drawn = (torch.rand_like(total) > steps[..., :-1]).sum(dim=-1, keepdim=True)
        return windows.gather(-1, drawn).squeeze(-1)
