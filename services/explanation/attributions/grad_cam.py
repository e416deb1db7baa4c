"""Grad-CAM: where a layer's channels speak for the output.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM: Visual Explanations from Deep Networks
via Gradient-based Localization", ICCV 2017. https://arxiv.org/abs/1610.02391
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.explanation.arrays import Array


def grad_cam(activations: Array, gradients: Array) -> Array:
    """relu(Σ over channels of mean gradient · activation), [N, …spatial] (eq. 1 and 2).

    Args:
        activations: [N, C, …spatial] of a layer.
        gradients: Of the explained output by them.
    """
    space = tuple(range(2, activations.ndim))
    importance = gradients.mean(axis=space, keepdims=True, dtype=np.float64)
    summed: Array = np.maximum((importance * activations).sum(axis=1), 0)
    return summed


def enlarged(maps: Array, lengths: Sequence[int]) -> Array:
    """[N, …] to [N, *lengths], linear between the centres of cells."""
    for axis, length in enumerate(lengths, start=1):
        old = maps.shape[axis]
        centres = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        below = np.floor(centres).astype(int)
        above = np.minimum(below + 1, old - 1)
        share = (centres - below).reshape(-1, *[1] * (maps.ndim - axis - 1))
        maps = np.take(maps, below, axis) * (1 - share) + np.take(maps, above, axis) * share
    return maps
