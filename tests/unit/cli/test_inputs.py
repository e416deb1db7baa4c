from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wintergarden.cli.inputs import given_inputs, read_inputs
from wintergarden.errors import InvalidArgument

DIGITS: dict[str, Any] = {
    "inputs": [
        {
            "name": "image",
            "datatype": "FP32",
            "shape": [-1, 1, 28, 28],
            "value_range": [0.0, 1.0],
        }
    ]
}
WINE: dict[str, Any] = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}]}


def picture(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_a_grey_picture_is_scaled_into_the_value_range(tmp_path: Path) -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[3, 5] = 255
    path = picture(tmp_path / "d.png", pixels)
    image = read_inputs(path, DIGITS)["image"]
    assert (image.shape, image.dtype) == ((1, 1, 28, 28), np.float32)
    assert image[0, 0, 3, 5] == 1.0
    assert image.sum() == 1.0
    inverted = read_inputs(path, DIGITS, invert=True)["image"]
    np.testing.assert_allclose(inverted, 1 - image)


def test_a_coloured_picture_of_another_size_becomes_what_the_model_takes(tmp_path: Path) -> None:
    path = picture(tmp_path / "d.png", np.full((50, 40, 3), 128, np.uint8))
    image = read_inputs(path, DIGITS)["image"]
    np.testing.assert_allclose(image, 128 / 255, atol=1e-6)
    assert image.shape == (1, 1, 28, 28)


def test_another_range_layout_and_datatype(tmp_path: Path) -> None:
    path = picture(tmp_path / "d.png", np.full((4, 6, 3), 255, np.uint8))
    signed = {"name": "x", "datatype": "FP32", "shape": [-1, -1, -1, 3], "value_range": [-1, 1]}
    assert read_inputs(path, {"inputs": [signed]})["x"].shape == (1, 4, 6, 3)
    assert read_inputs(path, {"inputs": [signed]})["x"].max() == 1.0
    raw = {"name": "x", "datatype": "UINT8", "shape": [-1, 3, 4, 6]}
    pixels = read_inputs(path, {"inputs": [raw]})["x"]
    assert (pixels.dtype, pixels.max(), pixels.shape) == (np.uint8, 255, (1, 3, 4, 6))


@pytest.mark.parametrize("rows", [[1, 2, 3], [[1, 2, 3]]])
def test_numbers_from_json_and_npy_get_datatype_and_batch_axis(tmp_path: Path, rows: Any) -> None:
    text, binary, several = tmp_path / "w.json", tmp_path / "w.npy", tmp_path / "w.npz"
    text.write_text(json.dumps(rows))
    np.save(binary, np.array(rows))
    np.savez(several, features=np.array(rows))
    for path in (text, binary, several):
        features = read_inputs(path, WINE)["features"]
        assert (features.shape, features.dtype) == ((1, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.doc", b"1", "want .npy, .npz, .json, .png or .txt"),
        ("x.txt", b"a text", "'features' of model '' takes FP32 and the model has no vocabulary"),
        ("x.txt", b" \n", "no line with a text"),
        ("x.txt", b"\xff", "not UTF-8"),
        ("x.json", b"{", "not JSON"),
        ("x.json", b'{"colour": [1]}', "unknown input colour; the model takes features"),
        ("x.json", b"[[1, 2], [3]]", "different lengths"),
        ("x.npy", b"no array", "x.npy: "),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=said):
        read_inputs(path, WINE)


WORDS: dict[str, Any] = {
    "inputs": [{"name": "tokens", "datatype": "INT64", "shape": [-1, -1]}],
    "vocabulary": {"level": "word", "tokens": ["the", "cat", "sat"], "max_tokens": 8},
}


def test_texts_become_the_ids_of_the_models_vocabulary(tmp_path: Path) -> None:
    lines, listed = tmp_path / "t.txt", tmp_path / "t.json"
    lines.write_text("The cat\n\nsat dog the\n", encoding="utf-8")
    listed.write_text(json.dumps(["The cat", "sat dog the"]))
    expected = [[2, 3, 0], [4, 1, 2]]
    assert read_inputs(lines, WORDS)["tokens"].tolist() == expected
    assert read_inputs(listed, WORDS)["tokens"].tolist() == expected
    ids = given_inputs(None, ["the the"], WORDS)["tokens"]
    assert (ids.tolist(), ids.dtype) == ([[2, 2]], np.int64)
    raw = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]}
    assert given_inputs(None, ["é"], raw)["text"].tolist() == [["é".encode()]]


def test_a_picked_array_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidArgument, match="allow_pickle"):
        read_inputs(path, WINE)


def test_pictures_are_refused_for_tables_and_when_they_are_none(tmp_path: Path) -> None:
    path = picture(tmp_path / "d.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InvalidArgument, match="is no picture"):
        read_inputs(path, WINE)
    path.write_bytes(b"no picture")
    with pytest.raises(InvalidArgument, match="not a picture that can be read"):
        read_inputs(path, DIGITS)
