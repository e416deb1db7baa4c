"""What a sequence costs, the longer it is: operations, and milliseconds as served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator

from services.explanation.render.style import (
    BAD,
    FAINT,
    GOOD,
    INK,
    LOWERS,
    MUTED,
    RAISES,
    Caption,
    figure,
    inches,
    plain_axes,
    to_png,
    write,
)

_COLOURS = (LOWERS, BAD, GOOD, RAISES, MUTED, INK)


@dataclass(frozen=True)
class Growth:
    """A model over lengths, ascending; milliseconds are None where nothing was measured."""

    name: str
    lengths: Sequence[int]
    operations: Sequence[int]
    latencies_ms: Sequence[float | None]


def growths(models: Sequence[Growth], caption: Caption) -> bytes:
    """Two charts side by side, both against the length; every axis is logarithmic.

    What grows by the length rises by one decade for each, what grows by its square by two.
    """
    bottom = 0.95 + 0.2 * len(caption.notes)
    sheet = figure(11.6, bottom + 4.0 + 1.05)
    write(sheet, caption)
    left = inches(sheet, 0.85, bottom, 4.7, 4.0)
    right = inches(sheet, 6.55, bottom, 4.7, 4.0)
    lengths = sorted({length for model in models for length in model.lengths})
    for axes, told in ((left, "operations for one row"), (right, "milliseconds for one row")):
        plain_axes(axes)
        axes.grid(color=FAINT, linewidth=0.7)
        axes.set_xlabel("length of the sequence", size=9.5, color=MUTED)
        axes.set_ylabel(told, size=9.5, color=MUTED)
    for colour, model in zip(_cycled(len(models)), models, strict=True):
        _draw(left, model, model.operations, colour)
        _draw(right, model, model.latencies_ms, colour)
    for axes in (left, right):
        if not axes.lines:
            axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center",
                      color=MUTED)  # fmt: skip
            continue
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.margins(0.08, 0.15)
    left.yaxis.set_major_formatter(EngFormatter(sep=" "))
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if left.lines:
        left.legend(frameon=False, fontsize=9, loc="upper left")
    return to_png(sheet)


def _cycled(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]


def _draw(axes: Axes, model: Growth, heights: Sequence[float | None], colour: str) -> None:
    there = [(x, y) for x, y in zip(model.lengths, heights, strict=True) if y]
    if not there:
        return
    x, y = zip(*there, strict=True)
    axes.plot(x, y, color=colour, linewidth=2, marker="o", markersize=5, label=model.name)
