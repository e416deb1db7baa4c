import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.scheduling.caching import CachingScheduler
from services.inference.scheduling.engine import Engine
from services.inference.scheduling.plan import Plan
from services.inference.scheduling.response_cache import ResponseCache, digest
from services.inference.scheduling.scheduler import SequenceControl


class Asked:
    def __init__(self, *values, sequence=None, breaks=False):
        self.feeds = [np.array(values, np.float32).reshape(-1, 1)]
        self.rows, self.form = len(values), ()
        self.priority = self.timeout_us = 0
        self.arrived_ns = time.perf_counter_ns()
        self.sequence, self.breaks = sequence, breaks
        self.is_abandoned = False
        self.told = []
        self.done = threading.Event()

    def answer(self, outputs, *, is_final=True):
        if self.breaks:
            raise RuntimeError("this answer cannot be encoded")
        self.told.append(outputs)
        self.done.set()

    def refuse(self, error):
        self.told.append(error)
        self.done.set()

    def values(self):
        assert self.done.wait(30)
        ((output,),) = self.told
        return output.ravel().tolist()


class Doubling:
    def __init__(self):
        self.runs = []

    def run(self, feeds, outputs=None):
        x = feeds["x"]
        self.runs.append(len(x))
        if (x < 0).any():
            raise ValueError("negative")
        return [x * 2]


def cached(cache, session=None, **plan):
    session = session or Doubling()
    plan = Plan(inputs=("x",), **{"inline_rows": 64, **plan})
    return CachingScheduler(Engine(session, plan, "model 'm' version 1"), cache), session


def ask(scheduler, *requests):
    scheduler.submit(requests)
    for request in requests:
        assert request.done.wait(30)
    return requests


def test_who_has_an_answer_finds_it_counted_and_kept():
    class Looking(Asked):
        def answer(self, outputs, *, is_final=True):
            counts = scheduler.statistics.read()
            self.found = (counts.successes, counts.cache_hits.count, counts.cache_misses.count)
            super().answer(outputs)

    cache = ResponseCache(10_000)
    scheduler, _ = cached(cache)
    (first,) = ask(scheduler, Looking(1.0))
    (again,) = ask(scheduler, Looking(1.0))
    assert (first.found, again.found) == ((1, 0, 1), (2, 1, 1))
    (lost,) = ask(scheduler, Looking(1.0, breaks=True))
    assert isinstance(lost.told[0], RuntimeError)
    counts = scheduler.statistics.read()
    assert (counts.successes, sum(counts.failures.values())) == (2, 1)


def test_what_was_answered_is_not_run_again():
    scheduler, session = cached(ResponseCache(10_000))
    first, other = ask(scheduler, Asked(1.0), Asked(2.0))
    again, new = ask(scheduler, Asked(2.0), Asked(3.0))
    assert [r.values() for r in (first, other, again, new)] == [[2.0], [4.0], [4.0], [6.0]]
    assert session.runs == [2, 1]
    counts = scheduler.statistics.read()
    assert (counts.cache_hits.count, counts.cache_misses.count) == (1, 3)
    assert (counts.successes, counts.rows, counts.executions) == (4, 3, 2)
    assert counts.cache_hits.ns > 0 < counts.cache_misses.ns
    assert counts.last_inference_ns > 0


def test_a_kept_answer_does_not_change_with_the_one_that_was_given():
    scheduler, _ = cached(ResponseCache(10_000))
    (first,) = ask(scheduler, Asked(1.0))
    first.told[0][0][:] = 99
    (again,) = ask(scheduler, Asked(1.0))
    assert again.values() == [2.0]
    with pytest.raises(ValueError, match="read-only"):
        again.told[0][0][:] = 99


def test_another_version_has_other_answers():
    cache = ResponseCache(10_000)
    one, one_session = cached(cache)
    two, two_session = cached(cache)
    for scheduler in (one, two):
        ask(scheduler, Asked(1.0))
    assert (one_session.runs, two_session.runs) == ([1], [1])
    one.close()
    assert len(cache) == 1
    ask(two, Asked(1.0))
    assert two_session.runs == [1]


def test_sequences_are_never_answered_from_it():
    scheduler, session = cached(ResponseCache(10_000))
    for is_start in (True, False):
        ask(scheduler, Asked(1.0, sequence=SequenceControl(7, is_start, not is_start)))
    ask(scheduler, Asked(1.0))
    assert session.runs == [1, 1, 1]


def test_failures_are_not_kept():
    scheduler, session = cached(ResponseCache(10_000))
    for _ in range(2):
        (request,) = ask(scheduler, Asked(-1.0))
        assert isinstance(request.told[0], ValueError)
    assert session.runs == [1, 1]


def test_an_answer_that_cannot_be_sent_costs_nobody_else_theirs():
    scheduler, _ = cached(ResponseCache(10_000))
    ask(scheduler, Asked(1.0), Asked(2.0))
    broken, sound = ask(scheduler, Asked(1.0, breaks=True), Asked(2.0))
    assert isinstance(broken.told[0], RuntimeError)
    assert sound.values() == [4.0]


def test_a_hit_does_not_wait_for_a_running_batch():
    class Hanging(Doubling):
        def __init__(self):
            super().__init__()
            self.go_on = threading.Event()

        def run(self, feeds, outputs=None):
            if (feeds["x"] == 7).any():
                self.go_on.wait(10)
            return super().run(feeds)

    session = Hanging()
    scheduler, _ = cached(ResponseCache(10_000), session, inline_rows=0)
    ask(scheduler, Asked(1.0))
    stuck = Asked(7.0)
    scheduler.submit([stuck])
    assert ask(scheduler, Asked(1.0))[0].values() == [2.0]
    assert not stuck.told
    session.go_on.set()
    assert stuck.values() == [14.0]


def test_the_least_recently_used_is_forgotten_first():
    output = np.zeros(1000, np.uint8)
    cache = ResponseCache(3 * 1600)
    for name in (b"a", b"b", b"c"):
        cache.put((0, name), [output])
    assert cache.get((0, b"a")) is not None
    cache.put((0, b"d"), [output])
    assert [cache.get((0, n)) is not None for n in (b"a", b"b", b"c", b"d")] == [1, 0, 1, 1]


def test_what_is_larger_than_the_cache_is_not_kept():
    cache = ResponseCache(2000)
    cache.put((0, b"small"), [np.zeros(100, np.uint8)])
    cache.put((0, b"large"), [np.zeros(2000, np.uint8)])
    cache.put((0, b"texts"), [np.array([b"x" * 2000, b""], object)])
    assert len(cache) == 1
    assert cache.get((0, b"small")) is not None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1500)), max_size=60))
def test_it_never_holds_more_than_it_may(puts):
    cache = ResponseCache(5000)
    for key, size in puts:
        cache.put((key % 2, bytes([key])), [np.zeros(size, np.uint8)])
        assert cache.bytes_used <= 5000
    for model in (0, 1):
        cache.forget(model)
    assert (len(cache), cache.bytes_used) == (0, 0)


def test_whatever_differs_has_another_digest():
    feeds = [
        [np.zeros((2, 3), np.float32)],
        [np.zeros((3, 2), np.float32)],
        [np.zeros((2, 3), np.int32)],
        [np.zeros((2, 3), np.float32), None],
        [None, np.zeros((2, 3), np.float32)],
        [np.ones((2, 3), np.float32)],
        [np.full((2, 3), -0.0, np.float32)],
        [np.zeros((0, 3), np.float32)],
        [np.array(0.0, np.float32)],
        [np.array([b"ab", b"c"], object)],
        [np.array([b"a", b"bc"], object)],
        [np.array([b"ab", b"c"], object), np.array([b""], object)],
    ]
    assert len({digest(f) for f in feeds}) == len(feeds)
    assert digest([np.ones((4, 4))[::2]]) == digest([np.ones((2, 4))])
    assert digest([np.array(["ab"], object)]) == digest([np.array([b"ab"], object)])
