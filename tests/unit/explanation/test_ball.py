from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.explanation.attacks.ball import Ball
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import distances
from wintergarden.errors import InvalidArgument, InvalidTensor

singles = st.floats(-100, 100, width=32)
radii = st.floats(0, 50)


@given(
    x=hnp.arrays(np.float32, 20, elements=singles),
    direction=hnp.arrays(np.float64, 20, elements=st.sampled_from([-1.0, 0.0, 1.0])),
    epsilon=radii,
)
def test_never_leaves_epsilon_or_the_range(x, direction, epsilon: float) -> None:
    ball = Ball(epsilon, Box(-100, 100))
    moved = ball.project(x, x + epsilon * direction)
    assert moved.dtype == np.float32
    assert (np.abs(moved.astype(np.float64) - x.astype(np.float64)) <= epsilon).all()
    assert (np.abs(moved - x) <= np.float32(epsilon)).all()
    assert moved.min() >= -100
    assert moved.max() <= 100


@given(
    x=hnp.arrays(np.float32, 20, elements=st.floats(0, 1, width=32)), epsilon=st.floats(1e-3, 0.5)
)
def test_goes_as_far_as_it_may(x, epsilon: float) -> None:
    """Within two representable numbers of ε, or at the bound."""
    moved = Ball(epsilon, Box(0, 1)).project(x, x + epsilon)
    assert ((moved == 1) | (moved - x >= epsilon - 2 * np.spacing(np.float32(1)))).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions(dtype: type) -> None:
    x = np.linspace(0, 1, 101).astype(dtype)
    moved = Ball(0.1, Box(0, 1)).project(x, x.astype(np.float64) + 0.1)
    assert moved.dtype == dtype
    assert distances(x[None], moved[None], "linf")[0] <= 0.1


@pytest.mark.parametrize("bound", [1e5, math.inf])
def test_a_range_beyond_the_numbers_of_a_type_ends_with_them(bound: float) -> None:
    x = np.array([-60_000, 0, 60_000], np.float16)
    ball = Ball(1e4, Box(-bound, bound))
    ball.box.check_centre(x)
    moved = ball.project(x, x.astype(np.float64) + np.float64([-1e4, 1e4, 1e4]))
    np.testing.assert_array_equal(moved, np.array([-65_504, 1e4, 65_504], np.float16))


def test_the_naive_step_is_not_good_enough() -> None:
    """What the projection is for: float32(x + ε) − x exceeds ε on many grey levels."""
    x = np.linspace(0, 1, 256, dtype=np.float32)
    naive = np.clip(x + np.float32(0.1), 0, 1)
    assert (np.abs(naive.astype(np.float64) - x) > np.float32(0.1)).mean() > 0.05
    assert distances(x[None], Ball(0.1, Box(0, 1)).project(x, x + 0.1)[None], "linf")[0] <= 0.1


@pytest.mark.parametrize("epsilon", [math.nan, -0.1, math.inf, -math.inf, 1e39])
def test_a_radius_must_mean_something(epsilon: float) -> None:
    with pytest.raises(InvalidArgument, match=r"finite number ≥ 0.*in units of intensity") as error:
        Ball(epsilon, Box(0, 1, "intensity"))
    assert error.value.field == "epsilon"


@pytest.mark.parametrize(("low", "high"), [(1, 0), (0, 0), (math.nan, 1)])
def test_a_range_ascends(low: float, high: float) -> None:
    with pytest.raises(InvalidArgument, match="the first must be below the second"):
        Box(low, high)


def test_centres_must_lie_inside() -> None:
    ball = Box(0, 0.1, "intensity")
    ball.check_centre(np.float32([0, 0.1]))  # 0.1 in single precision is above 0.1
    with pytest.raises(InvalidTensor, match=r"spans \[0, 0.2\], its valid range is \[0, 0.1\]"):
        ball.check_centre(np.float32([0, 0.2]))
    with pytest.raises(InvalidTensor, match="NaN or infinity"):
        ball.check_centre(np.float32([math.nan]))
    Box(0, 1).check_centre(np.arange(3))  # tokens have no range
