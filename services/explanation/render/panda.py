"""An adversarial example in three panels, as the panda became a gibbon.

Goodfellow, Shlens, Szegedy, 2014, Figure 1. https://arxiv.org/abs/1412.6572
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array
from services.explanation.render.style import (
    BAD,
    GOOD,
    INK,
    MUTED,
    Caption,
    figure,
    inches,
    show_image,
    to_png,
    write,
)

_SIDE, _GAP = 2.6, 0.62


@dataclass(frozen=True)
class Verdict:
    """What the model says, how sure it is, and whether it is right."""

    label: str
    confidence: float
    is_right: bool


def panda(
    image: Array,
    adversarial: Array,
    value_range: tuple[float, float],
    *,
    epsilon: str,
    before: Verdict,
    after: Verdict,
    caption: Caption,
) -> bytes:
    """Input + change = adversarial example.

    Args:
        image: [H, W] or [C, H, W].
        adversarial: Of the same shape.
        value_range: What is black and what is white.
        epsilon: The radius in words.
        before: On the image.
        after: On the adversarial one.
        caption: The words around it; the legend names the change.
    """
    bottom = 1.05 + 0.2 * len(caption.notes)
    sheet = figure(3 * _SIDE + 2 * _GAP + 0.6, bottom + _SIDE + 1.25)
    write(sheet, caption)
    lefts = [0.3 + i * (_SIDE + _GAP) for i in range(3)]
    first, second, third = (inches(sheet, left, bottom, _SIDE, _SIDE) for left in lefts)

    show_image(first, image, *value_range)
    show_image(third, adversarial, *value_range)
    change = adversarial.astype(np.float64) - image.astype(np.float64)
    largest = float(np.abs(change).max()) or 1.0
    show_image(second, change, -largest, largest)  # grey where nothing changed

    for axes, name in ((first, "x"), (second, caption.legend), (third, "x′")):
        axes.set_title(name, size=10, color=MUTED)
    for axes, verdict in ((first, before), (third, after)):
        colour = GOOD if verdict.is_right else BAD
        axes.text(0.5, -0.1, verdict.label, transform=axes.transAxes, ha="center", va="center",
                  size=min(14, 230 / len(verdict.label)), weight="bold", color=colour)  # fmt: skip
        axes.text(0.5, -0.2, f"{_percent(verdict.confidence)} confidence", transform=axes.transAxes,
                  ha="center", va="center", size=10, color=INK)  # fmt: skip
    second.text(0.5, -0.1, epsilon, transform=second.transAxes, ha="center", va="center",
                size=12, color=INK)  # fmt: skip
    second.text(0.5, -0.2, "grey: no change", transform=second.transAxes, ha="center",
                va="center", size=10, color=INK)  # fmt: skip
    width, height = sheet.get_size_inches()
    for left, sign in ((lefts[1], "+"), (lefts[2], "=")):
        sheet.text((left - _GAP / 2) / width, (bottom + _SIDE / 2) / height, sign,
                   ha="center", va="center", size=24, color=INK)  # fmt: skip
    return to_png(sheet)


def _percent(share: float) -> str:
    """One decimal, and never a certainty that is none."""
    return "> 99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"
