"""Random affine views of images, as a scanner or a hurried hand would make them.

Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to visual
document analysis", ICDAR 2003, §2.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from trainer.data.variation import MAX_ROTATION_DEGREES, MAX_SCALE, MAX_SHEAR

MAX_SHIFT = 0.15  # of half the image: 2 pixels of 28


def random_affine(images: Tensor, generator: Generator) -> Tensor:
    """Each image rotated, sheared, scaled and shifted by its own random amounts.

    Args:
        images: (N, C, H, W); what comes in from outside the border is 0.
        generator: of the amounts.
    """
    return warped(images, draw_affine(len(images), generator))


def draw_affine(count: int, generator: Generator) -> Tensor:
    """Random maps of as many images: (N, 2, 3), in coordinates -1..1."""

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * limit

    angle = uniform(math.radians(MAX_ROTATION_DEGREES))
    scale = 1 + uniform(MAX_SCALE)
    shift = uniform(MAX_SHIFT, 2)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    # Where each output pixel is taken from, in coordinates -1..1.
    return torch.stack(
        [
            torch.stack([cosine, uniform(MAX_SHEAR) - sine, shift[:, 0]], dim=1),
            torch.stack([sine, cosine, shift[:, 1]], dim=1),
        ],
        dim=1,
    )


def warped(images: Tensor, maps: Tensor) -> Tensor:
    """Each image (N, C, H, W) as its map (N, 2, 3) shows it."""
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
