"""Everyone gets exactly their own rows and exactly one answer, whatever the neighbours do."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine import Engine
from services.inference.plan import Plan
from services.inference.statistics import Failure
from wintergarden.errors import Cancelled, InvalidTensor, Overloaded

POISON = -1.0


class Asked:
    """A request that keeps what it is told. Row values are unique, so that mix-ups show."""

    serial = 0

    def __init__(self, rows=1, width=3, *, poisonous=False, leaves=False, breaks=False):
        type(self).serial += 1
        values = np.arange(rows * width, dtype=np.float64) + 1000.0 * type(self).serial
        if poisonous:
            values[0] = POISON
        self.feeds = [values.reshape(rows, width)]
        self.rows = rows
        self.form = (width,)
        self.arrived_ns = time.perf_counter_ns()
        self.priority, self.timeout_us, self.sequence = 0, 0, None
        self.poisonous, self.breaks = poisonous, breaks
        self.is_abandoned = leaves
        self.told = []
        self.done = threading.Event()

    def answer(self, outputs):
        if self.breaks:
            raise RuntimeError("this answer cannot be encoded")
        self._tell(outputs)

    def refuse(self, error):
        self._tell(error)

    def _tell(self, what):
        self.told.append(what)
        self.done.set()

    def check(self):
        assert self.done.wait(10), "no answer"
        assert len(self.told) == 1, "more than one answer"
        (told,) = self.told
        if self.is_abandoned:
            assert isinstance(told, Cancelled)
        elif self.poisonous:
            assert isinstance(told, InvalidTensor)
        elif self.breaks:
            assert isinstance(told, RuntimeError)
        else:
            doubled, sums = told
            np.testing.assert_array_equal(doubled, self.feeds[0] * 2)
            np.testing.assert_array_equal(sums, self.feeds[0].sum(axis=1))


class Doubling:
    """y = 2x and the sums of the rows; fails on poison. Remembers the rows of its runs."""

    def __init__(self, seconds=0.0):
        self.runs, self.seconds = [], seconds

    def run(self, feeds, outputs=None):
        x = feeds["x"]
        self.runs.append(len(x))
        time.sleep(self.seconds)
        if (x == POISON).any():
            raise InvalidTensor("input 'x': poison")
        return [x * 2, x.sum(axis=1)]


def engine_of(session, **plan):
    return Engine(session, Plan(inputs=("x",), **plan), "model 'doubling' version 1")


asked = st.builds(
    Asked,
    st.integers(1, 12),
    st.integers(1, 3),
    poisonous=st.booleans(),
    leaves=st.booleans(),
    breaks=st.booleans(),
)


@settings(deadline=None)
@given(
    arrivals=st.lists(st.lists(asked, max_size=12), max_size=6),
    max_rows=st.integers(0, 10),
    inline_rows=st.integers(0, 10),
    threads=st.integers(1, 3),
)
def test_hostile_mixes(arrivals, max_rows, inline_rows, threads):
    session = Doubling()
    engine = engine_of(
        session, max_rows=max_rows, inline_rows=inline_rows, threads=threads, max_waiting=1000
    )
    for requests in arrivals:
        engine.submit(requests)
    for requests in arrivals:
        for request in requests:
            request.check()
    engine.close()
    if max_rows:
        assert all(rows <= max_rows for rows in session.runs)
    counts = engine.statistics.read()
    everyone = [r for requests in arrivals for r in requests]
    assert counts.failures.get(Failure.CANCELED, 0) == sum(r.is_abandoned for r in everyone)


def test_what_arrives_together_runs_together():
    session = Doubling()
    requests = [Asked() for _ in range(10)]
    engine_of(session, max_rows=64, inline_rows=64).submit(requests)
    assert session.runs == [10]
    for request in requests:
        request.check()


def test_what_waits_for_a_thread_runs_together():
    session = Doubling(seconds=0.1)
    engine = engine_of(session, max_rows=64)
    requests = [Asked() for _ in range(20)]
    for request in requests:
        engine.submit([request])
    for request in requests:
        request.check()
    engine.close()
    assert sum(session.runs) == 20
    assert len(session.runs) <= 3


def test_long_requests_leave_the_callers_thread():
    session = Doubling(seconds=0.05)
    engine = engine_of(session, max_rows=8, inline_rows=4)
    request = Asked(rows=5)
    started = time.perf_counter()
    engine.submit([request])
    assert time.perf_counter() - started < 0.04
    request.check()
    engine.close()


def test_a_request_over_the_limit_runs_in_pieces():
    session = Doubling()
    engine = engine_of(session, max_rows=8)
    request = Asked(rows=19)
    engine.submit([request])
    request.check()
    engine.close()
    assert session.runs == [8, 8, 3]


def test_a_full_queue_refuses_at_once_and_loses_nobody():
    engine = engine_of(Doubling(seconds=0.05), max_rows=1, max_waiting=3)
    requests = [Asked() for _ in range(10)]
    engine.submit(requests)
    refused = [r for r in requests if r.told and isinstance(r.told[0], Overloaded)]
    assert len(refused) == 7
    assert "3 requests wait already" in str(refused[0].told[0])
    for request in requests:
        assert request.done.wait(10)
        if request not in refused:
            request.check()
    assert engine.statistics.read().failures == {Failure.REJECTED: 7}
    engine.close()


def test_requests_abandoned_in_the_queue_never_run():
    session = Doubling(seconds=0.05)
    engine = engine_of(session, max_rows=64)
    first = Asked()
    engine.submit([first])
    time.sleep(0.02)
    leaving = [Asked() for _ in range(5)]
    engine.submit(leaving)
    for request in leaving:
        request.is_abandoned = True
    first.check()
    for request in leaving:
        request.check()
    engine.close()
    assert session.runs == [1]


def test_closing_finishes_what_waits_and_late_requests_are_still_answered():
    session = Doubling(seconds=0.02)
    engine = engine_of(session, max_rows=1)
    requests = [Asked() for _ in range(5)]
    engine.submit(requests)
    engine.close()
    late = Asked()
    engine.submit([late])
    for request in [*requests, late]:
        request.check()
    deadline = time.monotonic() + 10
    while not engine.is_drained and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.is_drained


class Pooling(Doubling):
    """A model that looked row-wise and is not: it loses rows in batches of several."""

    def run(self, feeds, outputs=None):
        doubled, sums = super().run(feeds)
        return [doubled, sums[:1] if len(sums) > 1 else sums]


def test_nobody_gets_rows_of_a_batch_that_lost_some():
    session = Pooling()
    engine = engine_of(session, max_rows=64, inline_rows=64)
    for _ in range(2):
        requests = [Asked() for _ in range(3)]
        engine.submit(requests)
        for request in requests:
            request.check()
    assert session.runs == [3, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("inline_rows", [0, 64])
def test_a_failing_session_fails_everyone_once(inline_rows):
    class Broken:
        def run(self, feeds, outputs=None):
            raise ValueError("out of order")

    engine = engine_of(Broken(), inline_rows=inline_rows)
    requests = [Asked() for _ in range(4)]
    engine.submit(requests)
    for request in requests:
        assert request.done.wait(10)
        assert [type(t) for t in request.told] == [ValueError]
    assert engine.statistics.read().failures == {Failure.BACKEND: 4}
    engine.close()


def test_a_fault_of_the_engine_leaves_nobody_waiting():
    class Broken(Asked):
        @property
        def arrived_ns(self):
            raise RuntimeError("who knows")

        @arrived_ns.setter
        def arrived_ns(self, value):
            pass

    session = Doubling(seconds=0.2)
    engine = engine_of(session, inline_rows=0)
    engine.submit([Asked()])  # the others wait meanwhile, and are one batch
    broken = Broken(poisonous=True)
    neighbours = [broken, Asked(poisonous=True), Asked(poisonous=True)]
    engine.submit(neighbours)
    for request in neighbours:
        assert request.done.wait(10), "no answer"
        assert len(request.told) == 1
    later = Asked()
    engine.submit([later])
    later.check()
    engine.close()
