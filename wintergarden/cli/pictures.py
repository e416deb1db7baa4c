"""Pictures from the server, kept; and what a terminal can show of an attribution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from wintergarden.client import Picture

PicturesDirectory = Annotated[
    Path | None,
    typer.Option(
        "--pictures",
        "-p",
        metavar="DIR",
        file_okay=False,
        help="Write pictures there: PNG, of texts SVG.",
    ),
]


def save_pictures(pictures: Iterable[Picture], directory: Path | None) -> list[Path]:
    """Write them under their own names; nothing without a directory."""
    if directory is None:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    return [picture.save(directory) for picture in pictures]


def coloured_text(
    tokens: Sequence[str], values: np.ndarray[Any, Any], *, is_spaced: bool = False
) -> Text:
    """The tokens on the colours of their values, as `heat_map` has them.

    Args:
        tokens: (T,).
        values: (T,).
        is_spaced: a space stands between them.
    """
    limit = float(np.abs(values).max(initial=0.0)) or 1.0
    line = Text("  ")
    for token, value in zip(tokens, values, strict=True):
        shown = token.replace("\n", "⏎") or "∅"
        line.append(shown, style=f"rgb(0,0,0) on {_colour(float(value), limit)}")
        line.append(" " * is_spaced + "\n" * ("\n" in token))
    return line


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
            line.append("  ", style=f"on {_colour(float(value), limit)}")
        lines.append(line)
    return lines


def _colour(value: float, limit: float) -> str:
    """White at zero."""
    strength = round(255 * (1 - min(abs(value) / limit, 1)))
    red, blue = (255, strength) if value >= 0 else (strength, 255)
    return f"rgb({red},{strength},{blue})"
