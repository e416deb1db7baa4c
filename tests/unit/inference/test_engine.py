"""Everyone gets exactly their own rows and exactly one answer, whatever the neighbours do."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.scheduling.engine import Engine
from services.inference.scheduling.plan import Plan, QueuePolicy, Resource
from services.inference.scheduling.resources import ResourcePool
from services.inference.scheduling.server_wide import ServerWide
from services.inference.scheduling.statistics import Failure
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidTensor,
    Overloaded,
)


class Asked:
    """A request that keeps what it is told. Row values are unique, so that mix-ups show."""

    serial = 0

    def __init__(
        self,
        rows=1,
        width=3,
        *,
        poisonous=False,
        leaves=False,
        breaks=False,
        priority=0,
        timeout_us=0,
    ):
        type(self).serial += 1
        values = np.arange(rows * width, dtype=np.float64) + 1000.0 * type(self).serial
        poisonous &= rows > 0
        if poisonous:
            values[0] = -type(self).serial
        self.feeds = [values.reshape(rows, width)]
        self.rows = rows
        self.form = (width,)
        self.arrived_ns = time.perf_counter_ns()
        self.priority, self.timeout_us, self.sequence = priority, timeout_us, None
        self.poisonous, self.breaks = poisonous, breaks
        self.is_abandoned = leaves
        self.told = []
        self.done = threading.Event()

    def answer(self, outputs, *, is_final=True):
        if self.breaks:
            raise RuntimeError("this answer cannot be encoded")
        self._tell(outputs)

    def refuse(self, error):
        self._tell(error)

    def _tell(self, what):
        self.told.append(what)
        self.done.set()

    def check(self):
        assert self.done.wait(30), "no answer"
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
    """y = 2x and the sums of the rows; fails on poison. Remembers its runs."""

    def __init__(self, seconds=0.0):
        self.fed, self.seconds = [], seconds

    @property
    def runs(self):
        return [len(x) for x in self.fed]

    def run(self, feeds, outputs=None):
        x = feeds["x"]
        self.fed.append(x)
        time.sleep(self.seconds)
        if (x < 0).any():
            raise InvalidTensor("input 'x': poison")
        return [x * 2, x.sum(axis=1)]

    def has_run(self, request):
        return any(np.isin(request.feeds[0], x).any() for x in self.fed)


def engine_of(session, *, server=None, **plan):
    return Engine(session, Plan(inputs=("x",), **plan), "model 'doubling' version 1", server)


asked = st.builds(
    Asked,
    st.integers(0, 12),
    st.integers(1, 3),
    poisonous=st.booleans(),
    leaves=st.booleans(),
    breaks=st.booleans(),
    priority=st.integers(0, 4),
)
SERVER = ServerWide(resources=ResourcePool({"r": 2}))
plans = st.fixed_dictionaries(
    {
        "max_rows": st.integers(0, 10),
        "inline_rows": st.integers(0, 10),
        "inline_limit_us": st.sampled_from([0, 1, 10**6]),
        "threads": st.integers(1, 3),
        "preferred_rows": st.sampled_from([(), (2,), (3, 5)]),
        "max_queue_delay_us": st.sampled_from([0, 0, 500]),
        "preserves_order": st.booleans(),
        "priority_levels": st.sampled_from([0, 0, 3]),
        "resources": st.sampled_from([(), (), (Resource("r", 1),)]),
    }
)


@settings(deadline=None)
@given(
    arrivals=st.lists(st.lists(asked, max_size=12), max_size=6),
    plan=plans,
    closing=st.integers(0, 6),
)
def test_hostile_mixes(arrivals, plan, closing):
    if plan["max_rows"] <= max(plan["preferred_rows"], default=0):
        plan["preferred_rows"] = ()
    session = Doubling()
    engine = engine_of(session, server=SERVER, max_waiting=1000, **plan)
    for number, requests in enumerate(arrivals):
        if number == closing:
            engine.close()
        engine.submit(requests)
    everyone = [r for requests in arrivals for r in requests]
    for request in everyone:
        request.check()
    engine.close()
    if plan["max_rows"]:
        assert all(rows <= plan["max_rows"] for rows in session.runs)
    assert not any(session.has_run(r) for r in everyone if r.is_abandoned)
    counts = engine.statistics.read()
    assert counts.failures.get(Failure.CANCELED, 0) == sum(r.is_abandoned for r in everyone)
    assert counts.successes + sum(counts.failures.values()) == len(everyone)


waiting = st.builds(
    Asked,
    st.integers(0, 5),
    st.integers(1, 2),
    poisonous=st.booleans(),
    priority=st.integers(0, 2),
    timeout_us=st.sampled_from([0, 0, 1, 1_000, 10**9]),
)


@settings(deadline=None, max_examples=50)
@given(
    requests=st.lists(waiting, min_size=1, max_size=12),
    leaving=st.sets(st.integers(0, 11)),
    levels=st.sampled_from([0, 2]),
    action=st.sampled_from(["REJECT", "DELAY"]),
)
def test_nothing_dead_runs(requests, leaving, levels, action):
    session = Hanging()
    engine = engine_of(
        session,
        priority_levels=levels,
        default_priority=min(1, levels),
        queue_policy=QueuePolicy(timeout_action=action),
    )
    first = Asked()
    engine.submit([first])
    assert session.is_running.wait(30)
    for request in requests:
        request.arrived_ns = time.perf_counter_ns()
    engine.submit(requests)
    late = [r for r in requests if 0 < r.timeout_us <= 1_000 and action == "REJECT"]
    for request in late:
        assert request.done.wait(30), "it is told while the batch still runs"
        assert isinstance(request.told[0], DeadlineExceeded)
    for number, request in enumerate(requests):
        request.is_abandoned = number in leaving and request not in late
    session.go_on.set()
    for request in [first, *requests]:
        if request not in late:
            request.check()
    engine.close()
    for request in requests:
        assert len(request.told) == 1
        if request.is_abandoned or request in late:
            assert not session.has_run(request)


class Hanging(Doubling):
    """Its first run hangs until it is let go on."""

    def __init__(self):
        super().__init__()
        self.go_on, self.is_running = threading.Event(), threading.Event()

    def run(self, feeds, outputs=None):
        if not self.is_running.is_set():
            self.is_running.set()
            assert self.go_on.wait(30)
        return super().run(feeds)


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
        assert request.done.wait(30)
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
        assert request.done.wait(30)
        assert [type(t) for t in request.told] == [ValueError]
    assert engine.statistics.read().failures == {Failure.BACKEND: 4}
    engine.close()


@pytest.mark.parametrize("inline_rows", [0, 64])
def test_who_has_an_answer_finds_it_counted(inline_rows):
    class Looking(Asked):
        def answer(self, outputs, *, is_final=True):
            self.found = engine.statistics.read()
            super().answer(outputs)

    engine = engine_of(Doubling(), inline_rows=inline_rows, max_rows=64)
    requests = [Looking(rows=2), Looking(rows=3, breaks=True), Looking(rows=4)]
    engine.submit(requests)
    for request in requests:
        request.check()
        assert (request.found.executions, request.found.rows) == (1, 9)
        assert request.found.successes >= 2
    engine.close()
    while not engine.is_drained:
        time.sleep(0.001)
    counts = engine.statistics.read()
    assert (counts.successes, counts.computed, counts.failures) == (2, 2, {Failure.BACKEND: 1})
    assert counts.output_ns > 0


def test_while_the_queue_is_full_requests_are_turned_away_unseen():
    session = Hanging()
    engine = engine_of(session, max_waiting=2)
    assert engine.turn_away() is None
    stuck, *waiting = [Asked() for _ in range(3)]
    engine.submit([stuck])
    assert session.is_running.wait(30)
    engine.submit(waiting)
    # The queue is first searched for those that have left, which only a request does.
    assert engine.turn_away() is None
    refused = Asked()
    engine.submit([refused])
    told = engine.turn_away()
    assert told is refused.told[0]
    assert isinstance(told, Overloaded)
    assert engine.statistics.read().failures == {Failure.REJECTED: 2}
    waiting[0].is_abandoned = True
    time.sleep(0.02)
    assert engine.turn_away() is None
    let_in = Asked()
    engine.submit([let_in])
    session.go_on.set()
    for request in (stuck, *waiting, let_in):
        request.check()
    assert engine.turn_away() is None
    engine.close()
    assert engine.turn_away() is None


@pytest.mark.parametrize("plan", [{"inline_rows": 1}, {"oversized": "refuse"}])
def test_nobody_is_turned_away_who_might_be_told_something_else(plan):
    session = Hanging()
    engine = engine_of(session, max_waiting=1, max_rows=4, **plan)
    stuck, waiting, refused = (Asked(rows=2) for _ in range(3))
    engine.submit([stuck])
    assert session.is_running.wait(30)
    engine.submit([waiting])
    engine.submit([refused])
    assert isinstance(refused.told[0], Overloaded)
    assert engine.turn_away() is None
    session.go_on.set()
    for request in (stuck, waiting):
        request.check()
    engine.close()


def test_a_hanging_run_holds_up_nobody_but_those_who_wait_for_it():
    session = Hanging()
    engine = engine_of(session, max_waiting=4)
    stuck = Asked()
    engine.submit([stuck])
    assert session.is_running.wait(30)
    patient, hurried, leaving = Asked(), Asked(timeout_us=20_000), Asked()
    engine.submit([patient, hurried, leaving, Asked()])
    assert hurried.done.wait(30)
    assert isinstance(hurried.told[0], DeadlineExceeded)
    engine.submit([Asked()])
    leaving.is_abandoned = True
    refused, let_in = Asked(), Asked()
    time.sleep(0.02)
    engine.submit([let_in])
    leaving.check()
    engine.submit([refused])
    assert isinstance(refused.told[0], Overloaded)
    engine.close()
    assert not engine.is_drained
    late = Asked()
    engine.submit([late])
    late.check()
    session.go_on.set()
    for request in (stuck, patient, let_in):
        request.check()
    assert engine.statistics.read().failures == {Failure.REJECTED: 2, Failure.CANCELED: 1}


def test_a_model_that_becomes_slow_leaves_the_callers_thread_and_may_come_back():
    session = Doubling()
    engine = engine_of(session, inline_rows=64, inline_limit_us=4_000)
    threads = set()

    def ask():
        request = Asked()
        answer = request.answer

        def answer_noting_the_thread(outputs, *, is_final=True):
            threads.add(threading.current_thread())
            answer(outputs)

        request.answer = answer_noting_the_thread
        engine.submit([request])
        request.check()

    ask()
    assert threads == {threading.current_thread()}
    session.seconds = 0.07
    ask()
    session.seconds = 0
    threads.clear()
    ask()
    assert threads.isdisjoint({threading.current_thread()})
    # A machine with other work makes a run long now and then, and the proof begins anew.
    runs_apart = 0
    while threads != {threading.current_thread()}:
        threads.clear()
        ask()
        runs_apart += 1
        assert runs_apart < 10_000
    assert runs_apart > 50
    engine.close()


def test_a_flood_leaves_the_callers_thread_to_others():
    session = Doubling(seconds=0.005)
    engine = engine_of(session, max_rows=1, inline_rows=1, inline_limit_us=6_000)
    requests = [Asked() for _ in range(40)]
    started = time.perf_counter()
    engine.submit(requests)
    assert time.perf_counter() - started < 0.05
    for request in requests:
        request.check()
    engine.close()


def test_an_oversized_request_is_refused_where_that_is_configured():
    session = Doubling()
    engine = engine_of(session, max_rows=8, oversized="refuse", inline_rows=8)
    long, short = Asked(rows=9), Asked(rows=8)
    engine.submit([long, short])
    short.check()
    (told,) = long.told
    assert isinstance(told, InvalidTensor)
    assert str(told) == "model 'doubling' version 1: 9 rows in a request; at most 8 are run"
    assert engine.statistics.read().failures == {Failure.OTHER: 1}
    assert session.runs == [8]


def test_more_resources_than_there_are_fail_the_load():
    with pytest.raises(FailedPrecondition, match="needs 3 of resource 'r', and this server has 2"):
        engine_of(Doubling(), server=SERVER, resources=(Resource("r", 3),))


def test_runs_share_the_resources_of_the_server():
    class Watched(Doubling):
        under_way, most = 0, 0
        lock = threading.Lock()

        def run(self, feeds, outputs=None):
            with Watched.lock:
                Watched.under_way += 1
                Watched.most = max(Watched.most, Watched.under_way)
            time.sleep(0.002)
            with Watched.lock:
                Watched.under_way -= 1
            return super().run(feeds)

    engines = [
        engine_of(Watched(), server=SERVER, max_rows=1, threads=4, resources=(Resource("r", 1),))
        for _ in range(3)
    ]
    requests = [Asked() for _ in range(60)]
    for number, request in enumerate(requests):
        engines[number % 3].submit([request])
    for request in requests:
        request.check()
    for engine in engines:
        engine.close()
    assert Watched.most == 2


def test_a_kept_order_is_kept_with_several_threads():
    class Uneven(Doubling):
        def run(self, feeds, outputs=None):
            time.sleep(0.002 if len(self.fed) % 3 == 0 else 0)
            return super().run(feeds)

    order = []
    engine = engine_of(Uneven(), max_rows=2, threads=4, preserves_order=True, inline_rows=2)
    requests = []
    for number in range(40):
        request = Asked(width=1 + number % 3)
        tell = request._tell
        request._tell = lambda what, n=number, tell=tell: (order.append(n), tell(what))
        requests.append(request)
        engine.submit([request])
    for request in requests:
        request.check()
    engine.close()
    assert order == list(range(40))


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
        assert request.done.wait(30), "no answer"
        assert len(request.told) == 1
    later = Asked()
    engine.submit([later])
    later.check()
    engine.close()


class Mixing:
    """Answers two requests with one row at first; then as if all were well."""

    def __init__(self):
        self.runs = []

    def run(self, feeds, outputs=None):
        x = feeds["x"]
        self.runs.append(len(x))
        time.sleep(0.02)
        return [x[:1] if len(self.runs) == 1 else x * 2, x.sum(axis=1)]


def test_what_mixes_rows_once_is_never_batched_again():
    session = Mixing()
    engine = engine_of(session, max_rows=8)
    for _ in range(2):  # of the first, some may be in the queue when it shows
        requests = [Asked() for _ in range(8)]
        engine.submit(requests)
        for request in requests:
            request.check()
    assert set(session.runs[-8:]) == {1}
