"""What --region says, and the colours of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from wintergarden.cli.pictures import coloured_text
from wintergarden.cli.regions import read_region
from wintergarden.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("", None),
        ("everywhere", "everywhere"),
        ("predicted", "predicted"),
        ("7", (7,)),
        ("12,30", (12, 30)),
        ("10:20, 5", ((10, 20), 5)),
    ],
)
def test_places(text: str, region: Any) -> None:
    assert read_region(text) == region


def test_masks(tmp_path: Path) -> None:
    mask = np.eye(4) > 0
    np.save(tmp_path / "mask.npy", mask)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    for name in ("mask.npy", "mask.png"):
        np.testing.assert_array_equal(read_region(str(tmp_path / name)), mask)


def test_a_mask_of_sixteen_bits_is_split_in_its_middle(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 0x7000], [0x9000, 0xFFFF]], np.uint16)).save(path)
    np.testing.assert_array_equal(read_region(str(path)), [[False, False], [True, True]])


@pytest.mark.parametrize("content", ["", "no array", np.array(["a"]), {"several": np.ones(2)}])
def test_a_file_that_is_no_mask_is_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "mask.npy"
    with path.open("wb") as file:
        match content:
            case str():
                file.write(content.encode())
            case dict():
                np.savez(file, **content)
            case _:
                np.save(file, content)
    with pytest.raises(InvalidArgument, match=r"mask\.npy: "):
        read_region(str(path))


@pytest.mark.parametrize("text", ["somewhere", "1:", "1,,2", "-1", "gone.npy"])
def test_what_is_no_region(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--region"):
        read_region(text)


def test_tokens_stand_on_the_colours_of_their_values() -> None:
    text = coloured_text(["the", "cat"], np.array([1.0, -2.0]), is_spaced=True)
    assert text.plain == "  the cat "
    assert [str(span.style) for span in text.spans] == [
        "rgb(0,0,0) on rgb(255,128,128)",
        "rgb(0,0,0) on rgb(0,0,255)",
    ]
