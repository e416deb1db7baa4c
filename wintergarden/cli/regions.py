"""`--region`: where an output that has places is explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from wintergarden.client.regions import Place, Region

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
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False)).astype(bool)
    from PIL import Image

    with Image.open(path) as opened:
        return np.asarray(opened.convert("L")) > 127
