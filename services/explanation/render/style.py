"""How every picture looks: paper, ink, colours, and the way to PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text

from services.explanation.arrays import Array

PAPER, INK, MUTED, FAINT = "#ffffff", "#1d2733", "#6b7785", "#dfe4ea"
RAISES, LOWERS = "#d81e4c", "#1e66c8"  # SHAP's reading: red pushes the output up, blue down
GOOD, BAD = "#2a7f62", "#c4472b"
DIVERGING = LinearSegmentedColormap.from_list(
    "raises_lowers", [LOWERS, "#8fb9ec", "#f8f8f8", "#f39aae", RAISES]
)
DPI = 160


@dataclass(frozen=True)
class Caption:
    """The words of a picture.

    Attributes:
        title: What it shows.
        subtitle: Of which model.
        legend: What is measured, with its units.
        notes: Where the numbers come from, a line each.
    """

    title: str
    subtitle: str = ""
    legend: str = ""
    notes: tuple[str, ...] = ()


def figure(width: float, height: float) -> Figure:
    """An empty sheet, in inches."""
    sheet = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(sheet)
    return sheet


def to_png(sheet: Figure) -> bytes:
    for text in sheet.findobj(Text):
        text.set_parse_math(False)  # a label may hold dollar signs
    buffer = io.BytesIO()
    sheet.savefig(buffer, format="png", facecolor=PAPER, metadata={"Software": "Wintergarden"})
    return buffer.getvalue()


def symmetric(values: Array) -> Normalize:
    """A colour scale with zero in the middle."""
    limit = float(np.abs(values).max()) if values.size else 1.0
    return Normalize(-(limit or 1.0), limit or 1.0)


def is_image(shape: tuple[int, ...]) -> bool:
    """[H, W], or [C, H, W] of one or three channels, of more than a few pixels."""
    return len(shape) in (2, 3) and min(shape[-2:]) > 3 and (len(shape) == 2 or shape[0] in (1, 3))


def show_image(axes: Axes, image: Array, low: float, high: float) -> None:
    """Draw [H, W] or [C, H, W] in its own colours; grey for one channel."""
    frame(axes)
    scaled = (np.clip(image.astype(np.float64), low, high) - low) / ((high - low) or 1.0)
    if scaled.ndim == 3 and scaled.shape[0] == 3:
        axes.imshow(np.moveaxis(scaled, 0, -1), interpolation="nearest")
    else:
        axes.imshow(scaled.reshape(scaled.shape[-2:]), cmap="gray", vmin=0, vmax=1)


def frame(axes: Axes) -> None:
    """No ticks, and a hairline around."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def plain_axes(axes: Axes) -> None:
    """A chart's axes: two quiet lines, quiet numbers."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)


def write(sheet: Figure, caption: Caption) -> None:
    """Title and subtitle at the top left, notes at the bottom left, inches from the edges."""
    width, height = sheet.get_size_inches()
    left = 0.3 / width
    sheet.text(left, 1 - 0.42 / height, caption.title, size=14, weight="bold", color=INK)
    sheet.text(left, 1 - 0.7 / height, caption.subtitle, size=10, color=MUTED)
    for index, line in enumerate(reversed(caption.notes)):
        sheet.text(left, (0.18 + 0.2 * index) / height, line, size=8.5, color=MUTED)


def inches(sheet: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    """Axes at a place given in inches."""
    across, up = sheet.get_size_inches()
    return sheet.add_axes((left / across, bottom / up, width / across, height / up))
