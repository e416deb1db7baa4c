"""The mean and the spread that values are standardised with."""

from __future__ import annotations

import torch
from torch import Tensor

_MIN_STD = 1e-20
"""Numbers as people know them, in the place of what is smaller, would become infinite."""


def mean_and_spread(values: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation over axes, which stay as 1; float32.

    The spread of what is constant is 1: it says nothing, and dividing by the spread would only blow
    up noise. That is so where single precision can hardly tell the values apart, whatever their
    unit is.
    """
    std, mean = torch.std_mean(values.double(), dim=axes, correction=0, keepdim=True)
    largest = values.abs().amax(dim=axes, keepdim=True).double()
    noise = (torch.finfo(torch.float32).eps * largest).clamp_min(_MIN_STD)
    return mean.float(), torch.where(std <= noise, 1.0, std).float()
