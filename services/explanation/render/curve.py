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
    sheet = figure(7.2, bottom + 3.2 + 1.05)
    write(sheet, caption)
    axes = inches(sheet, 0.75, bottom, 6.1, 3.2)
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
        for epsilon, accuracy in points:
            axes.annotate(
                f"{accuracy:.1%}", (epsilon, accuracy), textcoords="offset points", xytext=(5, 7),
                size=9, color=INK if len(lines) == 1 else colour,
            )  # fmt: skip
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=9, loc="lower left")
    span = (x[-1] - x[0]) or 1.0
    axes.set_xlim(x[0] - 0.02 * span, x[-1] + 0.08 * span)
    axes.set_ylim(0, 1.09)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(caption.legend, size=9.5, color=MUTED)
    axes.set_ylabel("accuracy", size=9.5, color=MUTED)
    return to_png(sheet)
