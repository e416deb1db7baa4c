"""Quality against operations, a bubble's area its parameters; and rows per second.

The chart of Canziani, Paszke, Culurciello, 2016, figure 2. https://arxiv.org/abs/1605.07678
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter

from services.explanation.render.style import (
    FAINT,
    GOOD,
    INK,
    LOWERS,
    MUTED,
    Caption,
    figure,
    inches,
    plain_axes,
    to_png,
    write,
)

_AREA = 1500.0  # of the largest bubble, in square points
_LEAST_AREA = 24.0


@dataclass(frozen=True)
class Bubble:
    """A model; quality and speed are None where they are not known."""

    name: str
    operations: int
    parameters: int
    quality: float | None
    rows_per_s: float | None


def bubbles(models: Sequence[Bubble], caption: Caption) -> bytes:
    """Two charts side by side, both against operations on a logarithmic axis."""
    bottom = 0.95 + 0.2 * len(caption.notes)
    sheet = figure(11.6, bottom + 4.0 + 1.05)
    write(sheet, caption)
    left = inches(sheet, 0.85, bottom, 4.7, 4.0)
    right = inches(sheet, 6.55, bottom, 4.7, 4.0)
    good = [m for m in models if m.quality is not None and m.operations]
    fast = [m for m in models if m.rows_per_s and m.operations]
    largest = max((m.parameters for m in models), default=1) or 1
    _draw(left, good, [m.quality or 0.0 for m in good], largest, GOOD)
    _draw(right, fast, [m.rows_per_s or 0.0 for m in fast], largest, LOWERS)
    left.set_ylabel("quality on held-out examples", size=9.5, color=MUTED)
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_ylabel("rows per second, as served", size=9.5, color=MUTED)
    if fast:
        right.set_yscale("log")
        right.yaxis.set_major_formatter(EngFormatter(sep=" "))
    for axes, shown in ((left, good), (right, fast)):
        axes.set_xlabel("operations for one row", size=9.5, color=MUTED)
        if not shown:
            axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center",
                      color=MUTED)  # fmt: skip
    return to_png(sheet)


def _draw(
    axes: Axes, models: Sequence[Bubble], heights: Sequence[float], largest: int, colour: str
) -> None:
    plain_axes(axes)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    if not models:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    x = [float(m.operations) for m in models]
    areas = [max(_LEAST_AREA, _AREA * m.parameters / largest) for m in models]
    axes.scatter(x, heights, areas, color=colour, alpha=0.35, linewidth=0)
    axes.scatter(x, heights, 10, color=colour)
    for model, operations, height, area in zip(models, x, heights, areas, strict=True):
        axes.annotate(
            model.name, (operations, height), textcoords="offset points",
            xytext=(0, 4 + float(np.sqrt(area / np.pi))), ha="center", size=8.5, color=INK,
        )  # fmt: skip
    axes.margins(0.16, 0.2)
