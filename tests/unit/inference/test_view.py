import numpy as np
import pytest

from services.inference.configuration import Reshape, Tensors
from services.inference.loading.view import View, view_of
from wintergarden.runtime import TensorSpec

GRAPH = "g (float[n, 6] x, float[n] k) => (float[n, 6] y, float[n] s) { y = Neg (x) s = Neg (k) }"


def tensors(inputs=None, outputs=None, *, is_batched=True):
    specs = (TensorSpec("x", "FP32", (-1, 2, 3)), TensorSpec("k", "FP32", (-1, 1)))
    return Tensors(specs, specs, is_batched, inputs or {}, outputs or {})


def test_the_session_itself_where_nothing_is_turned(session_of):
    session = session_of(GRAPH)
    assert view_of(session, tensors(), ["y", "s"], ["y", "s"]) is session


def test_shapes_are_turned_both_ways_and_rows_kept(session_of):
    view = view_of(
        session_of(GRAPH),
        tensors(
            {"x": Reshape((2, 3), (6,)), "k": Reshape((1,), ())},
            {"y": Reshape((3, 2), (6,)), "s": Reshape((1,), ())},
        ),
        ["y", "s"],
        ["y", "s"],
    )
    x = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    k = np.arange(4, dtype=np.float32).reshape(4, 1)
    y, s = view.run({"x": x, "k": k})
    np.testing.assert_array_equal(y, -x.reshape(4, 3, 2))
    np.testing.assert_array_equal(s, -k)
    (s,) = view.run({"x": x, "k": k}, ["s"])
    np.testing.assert_array_equal(s, -k)


def test_outputs_that_clients_do_not_see_are_not_computed(session_of):
    view = view_of(session_of(GRAPH), tensors(), ["y", "s"], ["s"])
    (s,) = view.run({"x": np.ones((1, 6), np.float32), "k": np.ones(1, np.float32)})
    np.testing.assert_array_equal(s, [-1])


@pytest.mark.parametrize(
    ("outside", "inside", "shape", "turned"),
    [
        ((-1, 2), (2, -1), (5, 3, 2), (5, 2, 3)),
        ((-1, 1, -1), (-1, -1), (5, 3, 1, 4), (5, 3, 4)),
        ((1,), (), (5, 1), (5,)),
        ((-1,), (-1, 1), (0, 3), (0, 3, 1)),
    ],
)
def test_sizes_left_open_are_the_same_in_order(outside, inside, shape, turned):
    class Echo:
        def run(self, feeds, outputs=None):
            self.fed = feeds
            return [feeds["x"]]

    echo = Echo()
    view = View(echo, tensors({"x": Reshape(outside, inside)}), ["y"])
    view.run({"x": np.zeros(shape, np.float32)})
    assert echo.fed["x"].shape == turned
