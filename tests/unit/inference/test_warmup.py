import numpy as np
import pytest

from services.inference.loading import warmup

INDEPENDENT = "g (float[n, 3] x) => (float[n, 3] y) { y = Relu(x) }"
TWO_INPUTS = (
    "g (float[n, 3] a, int64[n] b) => (float[n, 3] y, int64[n] c) { y = Exp(a) c = Neg(b) }"
)
TOKENS = """g (int64[n, t] x) => (float[n, t, 2] y)
    <float[4, 2] table = {1, 2, 3, 4, 5, 6, 7, 8}> { y = Gather(table, x) }"""
NORMALISED_OVER_THE_BATCH = """g (float[n, 3] x) => (float[n, 3] y)
    { m = ReduceMean<axes = [0]>(x) y = Sub(x, m) }"""
TIME_FIRST = "g (float[t, 3] x) => (float[t, 3] y) <int64 axis = {0}> { y = CumSum(x, axis) }"
QUANTISED_TOGETHER = """g (float[n, 3] x) => (float[n, 3] y)
    { q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z) }"""
ONE_NUMBER = """g (int64[n, 1] x) => (int64[n, 1] y)
    { m = ReduceMax<axes = [0]>(x) y = Sub(x, m) }"""
THREE_NUMBERS = ONE_NUMBER.replace("1]", "3]")
TEXTS = """g (string[n, 3] x) => (float[n, 3] y)
    { c = Cast<to = 1>(x) m = ReduceMean<axes = [0]>(c) y = Sub(c, m) }"""
REDUCED = "g (float[n, 3] x) => (float[1, 3] y) { y = ReduceSum<keepdims = 1>(x, a) }"
FIXED = "g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }"
COUNTING = "g (float[n, 3] x) => (int64[k] y) { y = Size(x) }"


def company(session):
    row = warmup.example(session.inputs)
    return warmup.company_matters(session.run, session.inputs, session.outputs, row)


@pytest.mark.parametrize("graph", [INDEPENDENT, TWO_INPUTS, TOKENS])
def test_rows_that_are_independent_may_share_a_run(session_of, graph):
    assert company(session_of(graph)) == ""


@pytest.mark.parametrize(
    "graph",
    [
        NORMALISED_OVER_THE_BATCH,
        TIME_FIRST,
        QUANTISED_TOGETHER,
        # Examples that read the same backwards.
        ONE_NUMBER,
        THREE_NUMBERS,
        TEXTS,
    ],
)
def test_rows_that_see_one_another_may_not(session_of, graph):
    assert "depends on the other rows" in company(session_of(graph))


def test_a_fixed_batch_is_not_extended(session_of):
    assert company(session_of(FIXED)) == "axis 0 of 'x', 'y' has a fixed size"


def test_a_graph_that_refuses_the_example_is_not_trusted_with_batches(session_of):
    session = session_of(
        """g (float[n, t] x) => (float[n, k] y) <int64[2] shape = {-1, 3}>
        { y = Reshape(x, shape) }"""
    )
    assert "could not be tried" in company(session)


def test_run_times_double_up_to_the_limit(session_of):
    session = session_of(INDEPENDENT)
    row = warmup.example(session.inputs)
    assert list(warmup.run_times(session.run, row, max_rows=12)) == [1, 2, 4, 8, 12]
    assert list(warmup.run_times(session.run, row, max_rows=0)) == [1]


def test_sizes_between_are_warmed_up_where_that_is_asked_for(session_of):
    session = session_of(TOKENS)
    seen = []

    def run(feeds):
        seen.append(len(feeds["x"]))
        return session.run(feeds)

    row = warmup.example(session.inputs)
    times = warmup.run_times(run, row, 8, preferred=[6, 100], warms_all=True)
    assert list(times) == [1, 2, 4, 6, 8]
    assert set(seen) == set(range(1, 9))


def test_warming_up_ends_once_runs_are_long(session_of, monkeypatch):
    monkeypatch.setattr(warmup, "_LONG_RUN_S", 0.0)
    session = session_of(INDEPENDENT)
    assert list(warmup.run_times(session.run, warmup.example(session.inputs), 64)) == [1]


def test_first_row_of_recorded_inputs(session_of):
    recorded = {"a": np.ones((5, 3), np.float32), "b": np.arange(5)}
    row = warmup.first_row(session_of(TWO_INPUTS).inputs, recorded)
    assert row["a"].shape == (1, 3)
    np.testing.assert_array_equal(row["b"], [0])
