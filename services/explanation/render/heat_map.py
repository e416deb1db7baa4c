"""An image beside its attributions."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from services.explanation.arrays import Array
from services.explanation.render.style import (
    DIVERGING,
    INK,
    MUTED,
    RAISES,
    Caption,
    figure,
    frame,
    inches,
    show_image,
    symmetric,
    to_png,
    write,
)

_SIDE = 3.2
_GHOST = 0.28
_EDGE = 0.4
_SHADE = 0.72
_DRAWING = 64 * 64


def heat_map(
    image: Array,
    attribution: Array,
    value_range: tuple[float, float],
    caption: Caption,
    region: Array | None = None,
) -> bytes:
    """The image, the places that are explained, and over its outline what each part contributed.

    Args:
        image: [H, W] or [C, H, W].
        attribution: [H, W]; red above zero, blue below, zero in the middle of the scale.
        value_range: What is black and what is white.
        caption: The words around it.
        region: Places of the output, bool [h, w], drawn over the whole image; None: it has none.
    """
    height, width = attribution.shape
    across, up = _SIDE * min(1, width / height), _SIDE * min(1, height / width)
    bottom = 0.5 + 0.2 * len(caption.notes)
    panels = 2 if region is None else 3
    sheet = figure(panels * across + 1.5 + 0.25 * (panels - 1), bottom + up + 1.25)
    write(sheet, caption)

    original = inches(sheet, 0.3, bottom, across, up)
    show_image(original, image, *value_range)
    original.set_title("input", size=10, color=MUTED, loc="left")

    if region is not None:
        _explained(inches(sheet, 0.55 + across, bottom, across, up), image, value_range, region)
    left = 0.05 + 0.25 * panels + (panels - 1) * across
    colours = inches(sheet, left, bottom, across, up)
    frame(colours)
    scale = symmetric(attribution)
    colours.imshow(attribution, cmap=DIVERGING, norm=scale, interpolation="nearest")
    _outline(colours, image, value_range)
    colours.set_title("attribution", size=10, color=MUTED, loc="left")

    bar = inches(sheet, left + across + 0.13, bottom, 0.14, up)
    sheet.colorbar(ScalarMappable(scale, DIVERGING), cax=bar)
    bar.tick_params(labelsize=8.5, colors=MUTED, length=0)
    for spine in bar.spines.values():
        spine.set_visible(False)
    bar.set_ylabel(caption.legend, size=9, color=INK)
    return to_png(sheet)


def _explained(axes: Axes, image: Array, value_range: tuple[float, float], region: Array) -> None:
    """The image, dark but for the region."""
    show_image(axes, image, *value_range)
    height, width = image.shape[-2:]
    shade = np.zeros((*region.shape, 4))
    shade[..., 3] = np.where(region, 0, _SHADE)
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(shade, extent=edges, interpolation="nearest")
    if region.any() and not region.all():
        padded = np.pad(region.astype(float), 1)
        rows, columns = (np.arange(-1, size + 1) + 0.5 for size in region.shape)
        axes.contour(
            columns * width / region.shape[1] - 0.5,
            rows * height / region.shape[0] - 0.5,
            padded,
            levels=[0.5],
            colors=[RAISES],
            linewidths=1.1,
        )
    axes.set_xlim(edges[:2])
    axes.set_ylim(edges[2:])
    axes.set_title("explained here", size=10, color=MUTED, loc="left")


def _outline(axes: Axes, image: Array, value_range: tuple[float, float]) -> None:
    """Where the image was: the edge of what is bright, or a shade where edges would be many."""
    low, high = value_range
    height, width = image.shape[-2:]
    bright = (image.astype(np.float64).reshape(-1, height, width).mean(axis=0) - low) / (high - low)
    is_drawing = image.size == height * width <= _DRAWING  # one channel, few pixels
    if is_drawing and bright.min() < _EDGE < bright.max():
        axes.contour(bright, levels=[_EDGE], colors=[INK], linewidths=0.9, alpha=0.75)
    else:
        shade = np.zeros((height, width, 4))
        shade[..., 3] = _GHOST * np.clip(1 - bright, 0, 1)
        axes.imshow(shade, interpolation="nearest")
