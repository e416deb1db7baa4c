"""`--region`: where an output that has places is explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from wintergarden.cli.files import read_numpy, read_picture
from wintergarden.client.regions import Place, Region
from wintergarden.errors import InvalidArgument

RegionText = Annotated[
    str,
    typer.Option(
        "--region",
        metavar="WHERE",
        help="Of a map or a sequence: everywhere, predicted, a place (ROW,COLUMN or POSITION), "
        "a box (10:20,5:9), or a mask (.npy of bool, .png with what is meant in white).",
    ),
]
_SPAN = re.compile(r"(\d+)(?::(\d+))?")


def read_region(text: str) -> Region | None:
    """`10:20,5` → ((10, 20), 5); None where nothing is said."""
    if not text:
        return None
    match text:
        case "everywhere":
            return "everywhere"
        case "predicted":
            return "predicted"
    if Path(text).suffix in (".npy", ".png"):
        return _mask(Path(text))
    spans = [_SPAN.fullmatch(part.strip()) for part in text.split(",")]
    places: list[Place] = []
    for span in spans:
        if span is None:
            raise typer.BadParameter(
                f"--region {text!r}: want everywhere, predicted, 12,30, 10:20,5:9, or a mask's file"
            )
        places.append((int(span[1]), int(span[2])) if span[2] else int(span[1]))
    return tuple(places)


def _mask(path: Path) -> Region:
    if not path.is_file():
        raise typer.BadParameter(f"--region {path}: no such file")
    if path.suffix == ".png":
        return np.asarray(read_picture(path, "L")) > 127
    mask = read_numpy(path)
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biuf":
        raise InvalidArgument(f"{path}: want one array of bool")
    return mask.astype(bool)
