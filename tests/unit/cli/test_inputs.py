from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wintergarden.cli.inputs import given_inputs, read_inputs
from wintergarden.errors import InvalidArgument
from wintergarden.wire.tensors import datatype_of

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


def archive(array: np.ndarray[Any, Any]) -> bytes:
    """An .npz file of one input."""
    held = io.BytesIO()
    np.savez(held, features=array)
    return held.getvalue()


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


def test_a_grey_picture_of_sixteen_bits_is_scaled_and_not_cut_off(tmp_path: Path) -> None:
    path = picture(tmp_path / "d.png", np.full((28, 28), 0x8000, np.uint16))
    image = read_inputs(path, DIGITS)["image"]
    np.testing.assert_allclose(image, 128 / 255, atol=1e-6)


@pytest.mark.parametrize("datatype", ["FP16", "FP64"])
def test_pictures_in_other_fractions(tmp_path: Path, datatype: str) -> None:
    path = picture(tmp_path / "d.png", np.full((28, 28), 255, np.uint8))
    manifest = {"inputs": [DIGITS["inputs"][0] | {"datatype": datatype}]}
    image = read_inputs(path, manifest)["image"]
    assert (datatype_of(image.dtype), image.max()) == (datatype, 1.0)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT32", "UINT8", "INT64"])
def test_whole_numbers_become_what_the_model_takes(tmp_path: Path, datatype: str) -> None:
    path = tmp_path / "w.json"
    path.write_text("[[1, 2, 3]]")
    (tensor,) = WINE["inputs"]
    features = read_inputs(path, {"inputs": [tensor | {"datatype": datatype}]})["features"]
    assert datatype_of(features.dtype) == datatype
    assert features.tolist() == [[1, 2, 3]]


def test_what_a_file_holds_counts_and_not_its_suffix(tmp_path: Path) -> None:
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.ones((1, 3)))
    with (tmp_path / "several.npy").open("wb") as file:
        np.savez(file, features=np.ones((1, 3)))
    for name in ("one.npz", "several.npy"):
        assert read_inputs(tmp_path / name, WINE)["features"].dtype == np.float32


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
        ("x.npy", b"", "x.npy: No data left in file"),
        ("x.npz", b"PK\3\4 cut off", "x.npz: "),
        ("x.npz", archive(np.array([{}], object)), "x.npz: Object arrays"),
        ("x.npz", archive(np.ones(99))[:300], "x.npz: "),
        ("x.json", b"[" * 100_000, "x.json: not JSON"),
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
    whole = path.read_bytes()
    for content, said in ((b"no picture", "not a picture that can be read"), (whole[:45], "d.png")):
        path.write_bytes(content)
        with pytest.raises(InvalidArgument, match=said):
            read_inputs(path, DIGITS)
