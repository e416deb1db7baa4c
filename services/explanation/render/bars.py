"""A table's row as a bar chart of what each feature contributed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.explanation.arrays import Array
from services.explanation.render.style import (
    FAINT,
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

SHOWN = 14


def bars(
    names: Sequence[str],
    values: Array,
    errors: Array,
    caption: Caption,
) -> bytes:
    """The players with the largest values, largest on top; the rest as one bar.

    Args:
        names: Of the M players.
        values: [M].
        errors: [M] standard errors, drawn as whiskers of ±2; empty for none.
        caption: The words around it.
    """
    order = np.argsort(-np.abs(values), kind="stable")
    shown, rest = order[:SHOWN], order[SHOWN:]
    labels = [names[i] for i in shown]
    lengths = [float(values[i]) for i in shown]
    whiskers = [2 * float(errors[i]) if len(errors) else 0.0 for i in shown]
    if len(rest):
        labels.append(f"{len(rest)} others, summed")
        lengths.append(float(values[rest].sum()))
        whiskers.append(0.0)

    bottom, up = 0.85 + 0.2 * len(caption.notes), 0.3 * len(labels) + 0.1
    left = 0.4 + 0.085 * max(map(len, labels))
    sheet = figure(left + 5.2, bottom + up + 1.05)
    write(sheet, caption)
    axes = inches(sheet, left, bottom, 4.5, up)
    plain_axes(axes)
    axes.spines["left"].set_visible(False)
    places = np.arange(len(labels))[::-1]
    colours = [RAISES if length >= 0 else LOWERS for length in lengths]
    axes.barh(places, lengths, height=0.68, color=colours)
    if any(whiskers):
        axes.errorbar(lengths, places, xerr=whiskers, fmt="none", ecolor=INK, elinewidth=0.9)
    reach = max((abs(n) + w for n, w in zip(lengths, whiskers, strict=True)), default=1.0) or 1.0
    for place, length, whisker in zip(places, lengths, whiskers, strict=True):
        beyond = length + (0.03 * reach + whisker) * (1 if length >= 0 else -1)
        side = "left" if length >= 0 else "right"
        axes.text(beyond, place, _signed(length), va="center", ha=side, size=8.5, color=INK)
    axes.set_yticks(places, labels, color=INK, size=9.5)
    low, high = min(0.0, *lengths), max(0.0, *lengths)
    room = 0.32 * reach + max(whiskers)
    axes.set_xlim(
        low - (room if low < 0 else 0.04 * reach), high + (room if high > 0 else 0.04 * reach)
    )
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(caption.legend, size=9, color=MUTED)
    return to_png(sheet)


def _signed(number: float) -> str:
    return f"{number:+.3g}".replace("-", "−")
