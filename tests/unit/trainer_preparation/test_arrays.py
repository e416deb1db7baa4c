"""NPZ files, those with a pickle in them included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from wintergarden.errors import InvalidArgument

Reading = Callable[..., Any]
X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])


def refusal(reading: Reading, content: bytes, **options: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        reading(content, "npz", **options)
    return caught.value.message


def test_a_table(reading: Reading, npz: Any) -> None:
    found = reading(npz(x=X, y=Y, feature_names=np.array(["width", "height"])), "npz")
    assert found.task == "tabular-classification"
    assert found.feature_names == ("width", "height")
    assert found.class_labels == ("0", "1", "2")
    np.testing.assert_array_equal(found.inputs, X)
    np.testing.assert_array_equal(found.labels, Y)


def test_labels_by_name_and_in_an_order_of_ones_own(reading: Reading, npz: Any) -> None:
    names = np.array(["small", "medium", "large"])
    by_number = reading(npz(x=X, y=Y, class_labels=names), "npz")
    by_name = reading(npz(x=X, y=names[Y], class_labels=names), "npz")
    for found in (by_number, by_name):
        assert found.class_labels == ("small", "medium", "large")
        np.testing.assert_array_equal(found.labels, Y)
    assert reading(npz(x=X, y=names[Y]), "npz").class_labels == ("large", "medium", "small")


def test_parts(reading: Reading, npz: Any) -> None:
    content = npz(x_train=X, y_train=Y, x_test=X[:3], y_test=Y[:3])
    found = reading(content, "npz")
    assert found.parts.tolist() == [0] * 6 + [2] * 3


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((6, 5, 4), (6, 1, 5, 4)), ((6, 5, 4, 3), (6, 3, 5, 4)), ((6, 3, 5, 4), (6, 3, 5, 4))],
)
def test_pictures_have_their_channels_first(
    reading: Reading, npz: Any, shape: Any, wanted: Any
) -> None:
    found = reading(npz(x=np.zeros(shape, np.uint8), y=Y), "npz")
    assert (found.task, found.inputs.shape) == ("image-classification", wanted)
    assert found.inputs.dtype == np.uint8


def test_a_pickle_is_refused(reading: Reading, npz: Any) -> None:
    content = npz(x=np.array([[1, "a"], [2, None]], dtype=object), y=Y[:2])
    assert refusal(reading, content) == (
        "array 'x' holds Python objects (a pickle), which could run code when they are read; save "
        "it as numbers or as text of dtype str"
    )


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"a": X}, "the NPZ file has arrays a; wanted are x and y"),
        ({"x": X}, "the NPZ file has x and no y"),
        ({"x_test": X, "y_test": Y}, "wanted are x and y, or x_train"),
        ({"x": X, "y": Y[:5]}, "array y has shape [5]; x has 6 examples, so (6,) is wanted"),
        ({"x": X[:, 0], "y": Y}, "array x has shape [6]; wanted are (N, F)"),
        ({"x": X.astype(str), "y": Y}, "array x is of <U32; numbers are wanted"),
        ({"x": X, "y": Y + 0.5}, "array y holds fractions"),
        ({"x": X, "y": Y.astype(complex)}, "array y is of complex128; whole numbers or text"),
        ({"x": X, "y": Y * 0}, "two classes or more; the only one is '0'"),
        ({"x": X, "y": Y, "class_labels": np.array(["a"])}, "classes 0 to 2, and class_labels"),
        (
            {"x": X, "y": Y, "class_labels": np.array(list("abcd"))},
            "class_labels names 'd', of which y has no example",
        ),
        ({"x": X, "y": Y, "feature_names": np.array(["a", "a"])}, "1 different names for 2"),
        ({"x": np.zeros((6, 3, 5, 1), np.uint8), "y": Y}, "which axis is the channels"),
        ({"x": np.zeros((6, 5, 4), np.int32), "y": Y}, "pictures in int32: wanted are uint8"),
        ({"x": np.full((6, 5, 4), 2.0), "y": Y}, "values 0 to 1, these have 2 to 2"),
        ({"x": np.full((6, 5, 4), np.nan), "y": Y}, "values 0 to 1, these have nan to nan"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y},
            "the examples of the parts differ in shape: x_train [6, 2], x_test [6, 1]",
        ),
    ],
)
def test_arrays_that_will_not_do(
    reading: Reading, npz: Any, arrays: dict[str, Any], says: str
) -> None:
    assert says in refusal(reading, npz(**arrays))


@pytest.mark.parametrize("task", ["", "regression"])
@pytest.mark.parametrize("shape", [(0, 2), (6, 0), (6, 0, 28), (0, 8, 8)])
def test_arrays_with_nothing_in_them(
    reading: Reading, npz: Any, task: str, shape: tuple[int, ...]
) -> None:
    said = f"array x has shape {list(shape)}: it is empty"
    assert refusal(reading, npz(x=np.zeros(shape), y=np.zeros(shape[0])), task=task) == said
    if len(shape) == 3:
        masks = npz(x=np.zeros(shape), y=np.zeros(shape, int), class_labels=np.array(["a", "b"]))
        assert refusal(reading, masks, task="segmentation") == said


def test_an_array_that_lies_about_its_size(reading: Reading, archive: Any, npz: Any) -> None:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(npz(x=X, y=Y))) as whole:
        files = {name: whole.read(name) for name in whole.namelist()}
    files["x.npy"] = files["x.npy"].replace(b"(6, 2)", b"(9**9,2)"[:6])
    assert "array 'x.npy' cannot be read" in refusal(reading, archive(files))
    files["x.npy"] = b"no array"
    assert "array 'x.npy' cannot be read" in refusal(reading, archive(files))
    assert "an entry 'x.txt' that is no array" in refusal(reading, archive({"x.txt": b""}))


def test_another_task_than_was_expected(reading: Reading, npz: Any) -> None:
    said = refusal(reading, npz(x=X, y=Y), task="image-classification")
    assert said == "the file is for tabular-classification, not for image-classification"
