"""Accuracy against the radius of an attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import PercentFormatter

from services.explanation.render.style import (
    BAD,
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

_COLOURS = (BAD, GOOD, LOWERS, MUTED)
_HEIGHT, _HIGHEST = 3.2, 1.09
"""Of the axes, in inches and as an accuracy."""
POINTS = 72 * _HEIGHT / _HIGHEST
"""How many an accuracy of one is high."""
NUMBER, ABOVE = 10.0, 7.0
"""Points that a number is high, and that it is above its point at least."""


def curves(
    epsilons: Sequence[float], lines: Mapping[str, Sequence[float]], caption: Caption
) -> bytes:
    """A line from the clean accuracy downwards, each point with its number; or several, named.

    Args:
        epsilons: Radii.
        lines: Accuracies at the radii, by what is attacked; at most four.
        caption: The words.
    """
    bottom = 0.75 + 0.2 * len(caption.notes)
    sheet = figure(7.2, bottom + _HEIGHT + 1.05)
    write(sheet, caption)
    axes = inches(sheet, 0.75, bottom, 6.1, _HEIGHT)
    plain_axes(axes)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    x = sorted(epsilons)
    for colour, (name, accuracies) in zip(_COLOURS, lines.items(), strict=False):
        points = sorted(zip(epsilons, accuracies, strict=True))
        y = [accuracy for _, accuracy in points]
        axes.fill_between(x, y, color=colour, alpha=0.08, linewidth=0)
        axes.plot(
            x, y, color=colour, linewidth=2, marker="o", markersize=6, markeredgecolor="white",
            label=name,
        )  # fmt: skip
    for epsilon, *accuracies in zip(epsilons, *lines.values(), strict=True):
        for number, above in enumerate(stacked(accuracies)):
            axes.annotate(
                f"{accuracies[number]:.1%}", (epsilon, accuracies[number]),
                textcoords="offset points", xytext=(5, above),
                size=9, color=INK if len(lines) == 1 else _COLOURS[number],
            )  # fmt: skip
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=9, loc="lower left")
    span = (x[-1] - x[0]) or 1.0
    axes.set_xlim(x[0] - 0.02 * span, x[-1] + 0.08 * span)
    axes.set_ylim(0, _HIGHEST)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(caption.legend, size=9.5, color=MUTED)
    axes.set_ylabel("accuracy", size=9.5, color=MUTED)
    return to_png(sheet)


def stacked(accuracies: Sequence[float]) -> list[float]:
    """How far above its point each number stands, so that none is written over another."""
    above, free = [0.0] * len(accuracies), 0.0
    for number in sorted(range(len(accuracies)), key=accuracies.__getitem__):
        point = accuracies[number] * POINTS
        bottom = max(point + ABOVE, free)
        above[number], free = bottom - point, bottom + NUMBER
    return above
