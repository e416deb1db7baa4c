"""Pictures from the server, kept; and what a terminal can show of an attribution."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from wintergarden.client import Picture

PicturesDirectory = Annotated[
    Path | None,
    typer.Option(
        "--pictures", "-p", metavar="DIR", file_okay=False, help="Write PNG pictures there."
    ),
]


def save_pictures(pictures: Iterable[Picture], directory: Path | None) -> list[Path]:
    """Write them under their own names; nothing without a directory."""
    if directory is None:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    return [picture.save(directory) for picture in pictures]


def heat_map(values: np.ndarray[Any, Any], limit: float) -> list[Text]:
    """A line per row, a block per value: red speaks for the output, blue against it.

    Args:
        values: (rows, columns).
        limit: the value of full colour, > 0.
    """
    lines = []
    for row in values:
        line = Text("  ")
        for value in row:
            strength = round(255 * (1 - min(abs(float(value)) / limit, 1)))
            red, blue = (255, strength) if value >= 0 else (strength, 255)
            line.append("  ", style=f"on rgb({red},{strength},{blue})")
        lines.append(line)
    return lines
