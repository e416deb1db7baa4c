"""Files that people have, as they are. One that cannot be read is an InvalidArgument that names it.

The readers of numpy and Pillow raise whatever a broken file makes them stumble over.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from wintergarden.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from PIL import Image

Array: TypeAlias = np.ndarray[Any, Any]


def read_lines(path: Path) -> list[str]:
    """Those that are not blank."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"{path}: not UTF-8: {exc}") from exc
    if not lines:
        raise InvalidArgument(f"{path}: no line with a text in it")
    return lines


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{path}: not JSON: {exc}") from exc


def read_numpy(path: Path) -> Array | dict[str, Array]:
    """One array, or several by name: what the file holds, whatever its suffix."""
    try:
        with path.open("rb") as file:
            held = np.load(file, allow_pickle=False)
            return held if isinstance(held, np.ndarray) else dict(held)
    except Exception as exc:
        raise InvalidArgument(f"{path}: {exc}") from exc


def read_picture(
    path: Path, mode: Literal["L", "RGB"], size: tuple[int, int] = (-1, -1)
) -> Image.Image:
    """Grey or coloured, of 8 bits, in the size (width, height); -1 is as it is."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as exc:
        raise Unsupported("reading pictures needs Pillow: pip install pillow") from exc
    try:
        with Image.open(path) as opened:
            picture: Image.Image = opened
            if opened.mode.startswith("I"):  # converted, 16 bits would be cut off at 255
                deep = np.asarray(opened).astype(np.int64).clip(0, 2**16 - 1)
                picture = Image.fromarray((deep >> 8).astype(np.uint8))
            picture = picture.convert(mode)
    except UnidentifiedImageError as exc:
        raise InvalidArgument(f"{path}: not a picture that can be read") from exc
    except Exception as exc:
        raise InvalidArgument(f"{path}: {exc}") from exc
    width, height = size
    wanted = (width if width > 0 else picture.width, height if height > 0 else picture.height)
    return picture if picture.size == wanted else picture.resize(wanted, Image.Resampling.LANCZOS)
