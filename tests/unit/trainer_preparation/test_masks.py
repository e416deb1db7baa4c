"""Pictures with masks, and NPZ files whose y is more than a class."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.data.dataset import DatasetInfo
from trainer.data.prepared import read_prepared, write_prepared
from wintergarden.errors import InvalidArgument

Reading = Callable[..., Any]
RNG = np.random.default_rng(0)


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if mode == "P":
        image = image.convert("L")
        image.putpalette([v for n in range(256) for v in (n, 255 - n, 0)])
    image.save(buffer, "PNG")
    return buffer.getvalue()


def cells(count: int = 10, values: tuple[int, ...] = (0, 1, 2), folder: str = "") -> dict[str, Any]:
    files = {}
    for index in range(count):
        picture = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        mask = RNG.choice(values, (6, 8)).astype(np.uint8)
        files[f"{folder}images/{index}.png"] = picture
        files[f"{folder}masks/{index}.png"] = mask
    return files


def grey(numbers: np.ndarray, bits: int) -> bytes:
    """A PNG of so many bits for a pixel, which Pillow reads but does not write."""
    places = np.unpackbits(numbers[..., None], axis=2)[..., 8 - bits :].reshape(len(numbers), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(places, axis=1))
    height, width = numbers.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def packed(archive: Any, files: dict[str, Any]) -> bytes:
    return archive({n: png(f) if isinstance(f, np.ndarray) else f for n, f in files.items()})


def test_a_mask_beside_each_picture(reading: Reading, archive: Any) -> None:
    files = cells()
    found = reading(packed(archive, files), "images", task="segmentation")
    assert (found.inputs.shape, found.labels.shape) == ((10, 3, 6, 8), (10, 6, 8))
    assert (found.labels.dtype, found.class_labels) == (np.uint8, ("0", "1", "2"))
    np.testing.assert_array_equal(found.labels[3], files["masks/3.png"])
    np.testing.assert_array_equal(found.inputs[3].transpose(1, 2, 0), files["images/3.png"])
    assert (found.task, found.parts) == ("segmentation", None)


def test_names_and_any_numbers(reading: Reading, archive: Any) -> None:
    files = cells(values=(0, 255)) | {"classes.txt": b"ground\ncell\n"}
    found = reading(packed(archive, files), "images", task="segmentation")
    assert found.class_labels == ("ground", "cell")
    np.testing.assert_array_equal(found.labels[0], files["masks/0.png"] // 255)


def test_a_class_that_no_pixel_has_keeps_its_number(reading: Reading, archive: Any) -> None:
    files = cells(values=(0, 2)) | {"classes.txt": b"ground\nwall\ncell"}
    found = reading(packed(archive, files), "images", task="segmentation")
    np.testing.assert_array_equal(found.labels[0], files["masks/0.png"])


def test_palettes_and_sizes(reading: Reading, archive: Any) -> None:
    files = {n: f for n, f in cells(4).items()}
    content = {n: png(f, "P" if n.startswith("masks") else None) for n, f in files.items()}
    found = reading(archive(content), "images", task="segmentation", height=3, width=4)
    assert found.labels.shape == (4, 3, 4)
    assert set(np.unique(found.labels)) <= {0, 1, 2}  # nearest: no number between two classes


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_numbers_are_those_of_the_file_in_any_depth(
    reading: Reading, archive: Any, bits: int
) -> None:
    files = cells(values=tuple(range(2**bits))[:3])
    drawn = {n: grey(f, bits) if n.startswith("masks") else f for n, f in files.items()}
    drawn |= {"classes.txt": "\n".join(f"class {n}" for n in range(2**bits)).encode()}
    found = reading(packed(archive, drawn), "images", task="segmentation")
    np.testing.assert_array_equal(found.labels[3], files["masks/3.png"])


def test_depths_that_contradict_each_other_are_refused(reading: Reading, archive: Any) -> None:
    files = cells(values=(0, 1))
    narrow = {"masks/0.png": grey(files["masks/0.png"], 1)}
    found = reading(packed(archive, files | narrow), "images", task="segmentation")
    np.testing.assert_array_equal(found.labels[0], files["masks/0.png"])
    white = {n: f * 255 if n.startswith("masks") else f for n, f in files.items()}
    with pytest.raises(
        InvalidArgument, match="grey in 1 bits and some in 8, with numbers up to 255"
    ):
        reading(packed(archive, white | narrow), "images", task="segmentation")


def test_parts_and_the_way_to_the_store(preparing: Any, archive: Any, tmp_path: Any) -> None:
    files = cells(6, folder="set/train/") | cells(3, folder="set/test/")
    made = preparing(packed(archive, files), "images", task="segmentation")
    assert np.bincount(made.parts).tolist() == [5, 1, 3]
    classes = made.report["classes"]
    assert [entry["test"] for entry in classes] == [3, 3, 3]  # pictures that have the class
    labels = made.examples.labels
    path = tmp_path / "prepared.npz"
    names = ("train", "validation", "test")
    parts = {
        p: (made.inputs[made.parts == n], labels[made.parts == n]) for n, p in enumerate(names)
    }
    write_prepared(path, parts)
    info = DatasetInfo(
        "cells", "", "", "segmentation", "image", (3, 6, 8), "", (0.0, 1.0), ("0", "1", "2"),
        {"train": 5, "validation": 1, "test": 3},
    )  # fmt: skip
    dataset = read_prepared(path, info)
    assert dataset.train.labels.dtype == np.int64
    np.testing.assert_array_equal(dataset.test.labels, labels[made.parts == 2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"masks/3.png": None}, "'images/3.png' has no mask of its name"),
        ({"images/3.png": None}, "'masks/3.png' has no picture of its name"),
        ({"masks/3.png": np.zeros((5, 8), np.uint8)}, "is 8x5, its picture 8x6"),
        ({"masks/3.png": np.zeros((6, 8, 3), np.uint8)}, "is of mode RGB; wanted is a grey PNG"),
        ({"masks/3.png": np.zeros((6, 8), np.uint16)}, "is of mode I;16"),
        ({"classes.txt": b"one\ntwo"}, "the masks hold 3 numbers, up to 2, and 2 classes are"),
        ({"classes.txt": b"one\ntwo\none"}, "has a name twice"),
        ({"images/3.jpg": np.zeros((6, 8), np.uint8)}, "have one name"),
        ({"masks/3.png": b"no picture"}, "is no PNG or JPEG"),
    ],
)
def test_what_is_refused(reading: Reading, archive: Any, change: dict[str, Any], said: str) -> None:
    files = {n: f for n, f in (cells() | change).items() if f is not None}
    with pytest.raises(InvalidArgument, match=said):
        reading(packed(archive, files), "images", task="segmentation")


def test_masks_of_one_class_teach_nothing(reading: Reading, archive: Any) -> None:
    with pytest.raises(InvalidArgument, match="1 classes; allowed are 2 to 256"):
        reading(packed(archive, cells(values=(7,))), "images", task="segmentation")


def test_without_the_task_it_is_taken_for_classes(reading: Reading, archive: Any) -> None:
    """Folders are classes unless one says otherwise."""
    assert reading(packed(archive, cells()), "images").class_labels == ("images", "masks")


@pytest.mark.parametrize("shape", [(20,), (20, 1), (20, 3)])
def test_values_of_an_npz_file(preparing: Any, npz: Any, shape: tuple[int, ...]) -> None:
    x, y = RNG.normal(size=(20, 4)), RNG.normal(size=shape)
    made = preparing(npz(x=x, y=y), "npz", task="regression")
    count = shape[1] if len(shape) == 2 else 1
    np.testing.assert_array_equal(made.examples.labels, y.reshape(20, -1).astype(np.float32))
    assert made.examples.class_labels == (("y",) if count == 1 else ("y0", "y1", "y2"))
    assert made.examples.task == made.report["task"] == "regression"
    assert [value["name"] for value in made.report["values"]] == list(made.examples.class_labels)
    assert np.bincount(made.parts).tolist() == [14, 2, 4]


def test_masks_of_an_npz_file(preparing: Any, npz: Any) -> None:
    x, y = RNG.random((12, 5, 5)).astype(np.float32), RNG.integers(0, 3, (12, 5, 5))
    made = preparing(npz(x=x, y=y, class_labels=["a", "b", "c"]), "npz", task="segmentation")
    assert made.inputs.shape == (12, 1, 5, 5)
    np.testing.assert_array_equal(made.examples.labels, y)
    assert made.examples.class_labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("y", "task", "said"),
    [
        (np.full(20, np.nan), "regression", "no finite number in 20 of 20"),
        (np.array(["a"] * 20), "regression", "learns numbers"),
        (np.zeros((20, 5, 4), int), "segmentation", "a class for each of their pixels"),
        (np.zeros((20, 5, 5)), "segmentation", "wants the class of each pixel as whole numbers"),
        (np.zeros(20, int), "segmentation", r"so \(20, H, W\) is wanted"),
        (np.zeros((20, 2), int), "", r"so \(20,\) is wanted"),
    ],
)
def test_what_y_may_not_be(reading: Reading, npz: Any, y: Any, task: str, said: str) -> None:
    if task == "segmentation" and y.ndim == 3:
        y = y.copy()
        y[0, 0, 0] = 1
    with pytest.raises(InvalidArgument, match=said):
        reading(npz(x=RNG.random((20, 5, 5)).astype(np.float32), y=y), "npz", task=task)
