from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wintergarden.errors import DataLoss, InvalidArgument
from wintergarden.store.arrays import pack
from wintergarden.store.reference import MAX_BYTES, read_reference, write_reference

X = np.ones((5, 3), np.float32)
LABELS = np.arange(5)
BACKGROUND = np.zeros((2, 3), np.float32)


def test_examples_travel_with_the_model(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    path.write_bytes(write_reference({"x": X}, LABELS, BACKGROUND))
    reference = read_reference(path)
    assert reference.inputs["x"].tolist() == X.tolist()
    assert reference.labels is not None
    assert reference.labels.tolist() == LABELS.tolist()
    assert reference.background.tolist() == BACKGROUND.tolist()


def test_labels_may_be_absent() -> None:
    assert read_reference(write_reference({"x": X}, None, BACKGROUND)).labels is None


@pytest.mark.parametrize(
    ("inputs", "labels", "background", "message"),
    [
        ({}, None, BACKGROUND, "need an input"),
        ({"x": np.float32(1)}, None, BACKGROUND, "a first axis that counts them"),
        ({"x": X}, LABELS[:4], BACKGROUND, r"different lengths: \[4, 5\]"),
        ({"x": np.ones((1001, 1))}, None, BACKGROUND, "1001 reference examples; at most 1000"),
        ({"x": X}, LABELS, np.ones((1001, 1)), "1001 reference examples; at most 1000"),
        (
            {"x": np.zeros((1, MAX_BYTES), np.uint8)},
            None,
            BACKGROUND,
            f"take {MAX_BYTES + 24} bytes; at most {MAX_BYTES}",
        ),
    ],
)
def test_limits_hold_on_both_sides(
    inputs: dict[str, np.ndarray],
    labels: np.ndarray | None,
    background: np.ndarray,
    message: str,
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        write_reference(inputs, labels, background)
    arrays = {f"inputs/{name}": np.asarray(array) for name, array in inputs.items()}
    if labels is not None:
        arrays["labels"] = labels
    with pytest.raises(DataLoss, match=message):
        read_reference(pack({**arrays, "background": background}))


def test_what_is_no_reference_file() -> None:
    with pytest.raises(DataLoss, match="has no background"):
        read_reference(pack({"x": X}))
