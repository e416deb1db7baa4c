from __future__ import annotations

import numpy as np
import pytest

from services.explanation.attributions.players import Players
from wintergarden.errors import InvalidArgument, InvalidTensor


def test_features_are_elements() -> None:
    players = Players.features((2, 3))
    assert players.count == 6
    np.testing.assert_array_equal(players.assignment, [[0, 1, 2], [3, 4, 5]])


def test_grids_cover_the_image_with_rectangles_of_nearly_one_size() -> None:
    players = Players.grid((3, 28, 30), 3, 4)
    assert players.count == 12
    assert players.assignment.shape == (3, 28, 30)
    np.testing.assert_array_equal(players.assignment[0], players.assignment[2])
    sizes = np.bincount(players.assignment[0].ravel())
    assert sizes.min() >= 9 * 7
    assert sizes.max() <= 10 * 8


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (29, 4), (3, -1), (3, 29)])
def test_grids_must_fit(rows: int, columns: int) -> None:
    with pytest.raises(InvalidArgument, match=r"on an image of 28×28; rows must be 1 to 28"):
        Players.grid((1, 28, 28), rows, columns)


def test_grids_need_images() -> None:
    with pytest.raises(InvalidArgument, match=r"the input is \[30\]; use features"):
        Players.grid((30,), 2, 2)


def test_masks_say_who_owns_what() -> None:
    players = Players.mask(np.array([[0, 0, 1], [2, 2, 1]]), (2, 3))
    assert players.count == 3
    values = players.to_elements(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(values, [[[1, 1, 2], [3, 3, 2]]])


def test_masks_are_checked() -> None:
    with pytest.raises(InvalidTensor, match=r"without gaps, got \[0, 2\]"):
        Players.mask(np.array([0, 2, 0]), (3,))
    with pytest.raises(InvalidTensor, match=r"integers of shape \[3\], got float64 \[3\]"):
        Players.mask(np.zeros(3), (3,))
    with pytest.raises(InvalidTensor, match=r"integers of shape \[3\], got int64 \[2\]"):
        Players.mask(np.zeros(2, int), (3,))
