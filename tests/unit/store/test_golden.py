from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wintergarden.errors import DataLoss
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store.arrays import pack
from wintergarden.store.golden import read_golden, replay, write_golden

X = np.array([[-1, 0, 2]], np.float32)
Y = np.array([[0, 0, 2]], np.float32)


def test_a_served_model_answers_as_it_did_where_it_was_trained(relu: bytes, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(write_golden({"x": X}, {"y": Y}))
    assert read_golden(path).inputs["x"].tolist() == X.tolist()
    session = open_session(relu, RuntimeOptions(device="cpu", intra_op_threads=1))
    assert replay(lambda feeds: {"y": session.run(feeds)[0]}, path, 1e-4) == 0.0


def test_the_largest_difference_is_returned() -> None:
    content = write_golden({"x": X}, {"y": Y, "z": Y})
    answers = {"y": Y + np.float32(0.25), "z": Y - np.float32(0.5)}
    assert replay(lambda _: answers, content, 0.5) == 0.5


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"y": Y + 1}, "golden output 'y' differs by 1; at most 0.0001 is allowed"),
        ({"y": Y[0]}, "golden output 'y' has shape [1, 3], got [3]"),
        ({"z": Y}, "golden output 'y' is missing; got z"),
        ({"y": np.full_like(Y, np.nan)}, "golden output 'y' differs by inf"),
        ({"y": np.full_like(Y, np.inf)}, "golden output 'y' differs by inf"),
    ],
)
def test_a_model_that_answers_otherwise_is_refused(
    answers: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataLoss) as caught:
        replay(lambda _: answers, write_golden({"x": X}, {"y": Y}), 1e-4)
    assert message in caught.value.message


def test_nan_and_infinity_equal_themselves_only() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    content = write_golden({"x": X}, {"y": odd})
    assert replay(lambda _: {"y": odd.copy()}, content, 0.0) == 0.0
    for index in range(3):
        other = odd.copy()
        other[index] = 1
        with pytest.raises(DataLoss):
            replay(lambda _, other=other: {"y": other}, content, 1e6)


def test_labels_are_compared_exactly() -> None:
    content = write_golden({"x": X}, {"label": np.array(["zero", "one"], object)})
    assert replay(lambda _: {"label": np.array(["zero", "one"], object)}, content, 0.0) == 0.0
    with pytest.raises(DataLoss):
        replay(lambda _: {"label": np.array(["zero", "two"], object)}, content, 1e9)


def test_what_is_no_golden_file() -> None:
    with pytest.raises(DataLoss, match="has no inputs or no outputs"):
        read_golden(pack({"x": X}))
