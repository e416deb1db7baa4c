"""Rows come and go; each has the states that its own tokens made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wintergarden.errors import InvalidArgument, InvalidTensor
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.runtime.stepping import Stepper

onnx_parser = pytest.importorskip("onnx.parser")

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
# Two states of different types; a token above 8 is none of the table's.
GRAPH = """step (int64[n, 1] token, int64[n, 1] sum, float[n, 2, 3] trace)
    => (float[n, 1] result, int64[n, 1] new_sum, float[n, 2, 3] new_trace)
    <int64[1, 1] factor = {3}, float[1] half = {0.5},
     int64[9] table = {0, 1, 2, 3, 4, 5, 6, 7, 8}>
    { known = Gather (table, token)  more = Mul (sum, factor)  new_sum = Add (more, known)
      result = Cast <to = 1> (new_sum)  halved = Mul (trace, half)
      shape = Shape (trace)  axes = Constant <value_ints = [1]> ()
      told = Cast <to = 1> (known)  wide = Unsqueeze (told, axes)
      new_trace = Add (halved, wide) }"""
STATES = [("sum", "new_sum"), ("trace", "new_trace")]


def session_of(graph):
    model = onnx_parser.parse_model(HEADER + graph)
    return open_session(model.SerializeToString(), RuntimeOptions(device="cpu", intra_op_threads=1))


@pytest.fixture(scope="module")
def session():
    return session_of(GRAPH)


def stepper_of(session, states=STATES, *, token="token", result="result", rows=4) -> Stepper:
    return session.stepper(states, token=token, result=result, max_rows=rows)


moves = st.lists(
    st.one_of(
        st.just("join"),
        st.tuples(st.just("leave"), st.integers(0, 3)),
        st.tuples(st.just("step"), st.lists(st.integers(0, 8), min_size=4, max_size=4)),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=30)
@given(moves)
def test_rows_have_the_states_of_their_own_tokens(session, wanted):
    stepper, sums = stepper_of(session), []
    for move in wanted:
        if move == "join":
            if stepper.is_full:
                with pytest.raises(InvalidArgument, match="at most 4"):
                    stepper.join()
                continue
            assert stepper.join() == len(sums)
            sums.append(0)
        elif move[0] == "leave" and move[1] < len(sums):
            stepper.leave(move[1])
            sums[move[1]] = sums[-1]
            sums.pop()
        elif move[0] == "step" and sums:
            tokens = np.array(move[1][: len(sums)])
            sums = [(3 * total + token) for total, token in zip(sums, tokens, strict=True)]
            np.testing.assert_array_equal(stepper.step(tokens)[:, 0], np.float32(sums))
        assert stepper.rows == len(sums)


def test_memory_comes_with_the_rows_and_goes_when_they_are_forgotten(session):
    stepper = stepper_of(session)
    assert (stepper.width, stepper.row_bytes) == (1, 2 * (8 + 24))
    for token in (1, 2):
        stepper.join()
        stepper.step(np.array([token] * stepper.rows))
    stepper.release()
    assert stepper.rows == 0
    stepper.join()
    assert stepper.step(np.array([5])).tolist() == [[5.0]]


# Two rings of 1024 numbers that get one entry a step. What is answered about the first is read
# from its successor; about the second, from what it was.
RINGS = """step (int64[n, 1] token, float[n, 1024] safe, float[n, 1024] late, int64[n, 1] place)
    => (float[n, 2] result, float[n, 1024] next_safe, float[n, 1024] next_late,
        int64[n, 1] next_place)
    <int64[1] one = {1}, int64[1] size = {1024}, int64[1] axis = {1}>
    { at = Mod (place, size)  entry = Cast <to = 1> (token)
      next_safe = ScatterElements <axis = 1> (safe, at, entry)
      next_late = ScatterElements <axis = 1> (late, at, entry)
      new = ReduceSum (next_safe, axis)  unrelated = Mul (new, new)
      old = ReduceSum (late, axis)  zero = Sub (unrelated, unrelated)
      kept = Add (old, zero)
      result = Concat <axis = 1> (new, kept)  next_place = Add (place, one) }"""
RING_STATES = [("safe", "next_safe"), ("late", "next_late"), ("place", "next_place")]


def test_a_ring_is_written_in_place_where_nobody_reads_what_it_was():
    stepper = stepper_of(session_of(RINGS), RING_STATES)
    assert "safe" in stepper.in_place
    assert "place" not in stepper.in_place  # small
    stepper.join()
    stepper.join()
    given = np.random.default_rng(0).integers(0, 9, (1500, 2))
    sums = np.array([[stepper.step(tokens).copy()] for tokens in given])[:, 0]  # (steps, rows, 2)
    for row in range(2):
        for step in (0, 1, 700, 1023, 1024, 1400, 1499):
            now = given[max(0, step - 1023) : step + 1, row].sum()
            before = given[max(0, step - 1024) : step, row].sum()
            assert sums[step, row].tolist() == [now, before]


def test_a_step_that_fails_leaves_the_states_as_they_were(session):
    stepper = stepper_of(session)
    stepper.join()
    stepper.step(np.array([4]))
    with pytest.raises(InvalidTensor):
        stepper.step(np.array([100]))
    assert stepper.step(np.array([1])).tolist() == [[13.0]]


@pytest.mark.parametrize(
    ("graph", "states", "problem"),
    [
        (GRAPH, [("sum", "new_sum")], "a step takes 'sum', 'token'"),
        (GRAPH, [("sum", "sun"), ("trace", "new_trace")], "a step gives 'sun'"),
        (GRAPH, [("sum", "new_trace"), ("trace", "new_sum")], "they must be the same"),
        (
            "s (int64[n, 1] token, float[n, k] h) => (float[n, 1] result, float[n, k] g)"
            " { result = Cast <to = 1> (token)  g = Identity (h) }",
            [("h", "g")],
            "one fixed shape",
        ),
        (
            "s (int64[n, 1] token, float[n, 1] h) => (float[n, 1] result, float[n, k] g)"
            " { result = Cast <to = 1> (token)  g = Concat <axis = 1> (h, h) }",
            [("h", "g")],
            "a state keeps its shape",
        ),
        (
            "s (int64[n, 1] token, float[n, 1] h) => (double[n, 1] result, float[n, 1] g)"
            " { result = Cast <to = 11> (token)  g = Identity (h) }",
            [("h", "g")],
            "needed is float32",
        ),
        (
            "s (int64[n, 2] token, float[n, 1] h) => (float[n, 2] result, float[n, 1] g)"
            " { result = Cast <to = 1> (token)  g = Identity (h) }",
            [("h", "g")],
            r"needed is INT64 \[-1, 1\]",
        ),
    ],
)
def test_a_graph_that_is_no_step_is_refused(graph, states, problem):
    with pytest.raises(InvalidArgument, match=problem):
        stepper_of(session_of(graph), states)


def test_rows_keep_their_states_where_there_is_no_memory_for_more(session, monkeypatch):
    stepper = stepper_of(session)
    stepper.join()
    stepper.step(np.array([5]))

    def no_memory(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr("wintergarden.runtime.stepping.np.zeros", no_memory)
    with pytest.raises(MemoryError):
        stepper.join()
    monkeypatch.undo()
    assert stepper.step(np.array([3]))[:, 0] == [18.0]
    assert stepper.join() == 1
