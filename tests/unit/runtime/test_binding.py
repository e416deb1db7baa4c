from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnx.parser
import pytest

from wintergarden.errors import InvalidTensor
from wintergarden.runtime import RuntimeOptions, Session, binding, open_session

# The second output has as many columns as there are numbers other than zero.
GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, m] x) => (float[n, m] y, int64[2, k] z) { y = Neg (x)  z = NonZero (x) }"""


@pytest.fixture
def session() -> Session:
    content = onnx.parser.parse_model(GRAPH).SerializeToString()
    return open_session(content, RuntimeOptions("cpu", intra_op_threads=1, is_bound=True))


def test_answers_stay_as_they_were_given(session: Session) -> None:
    given = [np.eye(3, dtype=np.float32) * (n % 2) for n in range(6)]
    answers = [session.run({"x": x}) for x in given]
    for x, (y, z) in zip(given, answers, strict=True):
        np.testing.assert_array_equal(y, -x)
        np.testing.assert_array_equal(z, np.nonzero(x))


def test_threads_keep_their_values_apart(session: Session) -> None:
    def run(n: int) -> bool:
        x = np.full((n % 5 + 1, 7), n + 1, np.float32)
        y, z = session.run({"x": x})
        return bool((y == -x).all()) and z.shape == (2, x.size)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(2000)))


def test_the_wanted_outputs_in_the_wanted_order(session: Session) -> None:
    x = np.ones((1, 2), np.float32)
    assert [a.shape for a in session.run({"x": x}, ["z", "y"])] == [(2, 2), (1, 2)]
    assert [a.shape for a in session.run({"x": x}, ["y"])] == [(1, 2)]


def test_a_view_of_any_layout_is_fed(session: Session) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for view in (x.T, x[:, ::2], x[::-1], np.broadcast_to(x[:1], (4, 3))):
        np.testing.assert_array_equal(session.run({"x": view})[0], -view)


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"x": np.zeros(2, np.float32)},
        {"x": np.zeros((2, 2))},
        {"q": np.zeros((2, 2), np.float32)},
    ],
)
def test_a_wrong_feed_is_the_callers_and_spoils_nothing(
    session: Session, feeds: dict[str, np.ndarray]
) -> None:
    with pytest.raises(InvalidTensor):
        session.run(feeds)
    assert session.run({"x": np.ones((1, 1), np.float32)})[0].tolist() == [[-1]]


def test_idle_buffers_are_bounded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_MAX_IDLE_BYTES", 4096)
    (runs,) = (session._compute.__self__,)
    for rows in range(1, 200):
        session.run({"x": np.zeros((rows, 4), np.float32)})
        assert runs._idle_bytes <= 4096
        kept = [unused for waiting in runs._idle.values() for unused in waiting]
        assert runs._idle_bytes == sum(unused.nbytes for unused in kept)
