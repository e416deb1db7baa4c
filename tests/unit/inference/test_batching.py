import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.batching import Backlog, batches, merge, split


class Waiting:
    def __init__(self, rows: int = 1, form: object = (), *, is_abandoned: bool = False) -> None:
        self.rows = rows
        self.form = form
        self.is_abandoned = is_abandoned
        self.arrived_ns = 0
        self.feeds = [np.full((rows, 2), id(self) % 1000, np.float32), np.arange(rows)]


mixes = st.lists(st.builds(Waiting, st.integers(1, 9), st.sampled_from(["a", "b", "c"])))


@given(mixes, st.integers(0, 20))
def test_every_request_is_in_one_batch_of_its_form_within_the_limit(mix, max_rows):
    made = list(batches(mix, max_rows))
    assert sorted(map(id, (r for batch in made for r in batch))) == sorted(map(id, mix))
    for batch in made:
        assert len({r.form for r in batch}) == 1
        assert len(batch) == 1 or sum(r.rows for r in batch) <= max_rows


@given(mixes)
def test_requests_of_one_form_keep_their_order(mix):
    made = [r for batch in batches(mix, 12) for r in batch]
    for form in "abc":
        assert [r for r in made if r.form == form] == [r for r in mix if r.form == form]


@given(st.lists(st.builds(Waiting, st.integers(1, 9)), min_size=1))
def test_splitting_undoes_merging(batch):
    for request, part in zip(batch, split(merge(batch), batch), strict=True):
        for got, fed in zip(part, request.feeds, strict=True):
            np.testing.assert_array_equal(got, fed)


def test_a_full_backlog_returns_what_finds_no_room():
    backlog = Backlog(capacity=2)
    requests = [Waiting() for _ in range(3)]
    assert backlog.put(requests) == requests[2:]
    assert len(backlog) == 2


def test_abandoned_requests_make_room_when_the_backlog_is_full():
    backlog = Backlog(capacity=2)
    first, second, third = (Waiting() for _ in range(3))
    backlog.put([first, second])
    first.is_abandoned = True
    assert backlog.put([third]) == [first]
    assert backlog.take(max_rows=9) == [second, third]


def test_take_stops_before_the_limit_but_always_takes_one():
    backlog = Backlog(capacity=9)
    large, small, other = Waiting(7), Waiting(2), Waiting(3)
    backlog.put([large, small, other])
    assert backlog.take(max_rows=4) == [large]
    assert backlog.take(max_rows=4) == [small]
    assert backlog.take(max_rows=4) == [other]


def test_abandoned_requests_do_not_count_as_rows():
    backlog = Backlog(capacity=9)
    requests = [Waiting(4, is_abandoned=True), Waiting(4), Waiting(1)]
    backlog.put(requests)
    assert backlog.take(max_rows=4) == requests[:2]


def test_a_closed_backlog_is_emptied_and_then_says_so():
    backlog = Backlog(capacity=9)
    waiting, late = Waiting(), Waiting()
    backlog.put([waiting])
    backlog.close()
    assert backlog.put([late]) == [late]
    assert backlog.take(max_rows=1) == [waiting]
    assert backlog.take(max_rows=1) == []


@pytest.mark.parametrize("takers", [1, 4])
def test_takers_wait_until_there_is_something_and_end_on_close(takers):
    backlog = Backlog(capacity=1000)
    taken, threads = [], []

    def work():
        while batch := backlog.take(max_rows=3):
            taken.extend(batch)

    for _ in range(takers):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
    requests = [Waiting() for _ in range(500)]
    for request in requests:
        assert backlog.put([request]) == []
    backlog.close()
    for thread in threads:
        thread.join(10)
    assert sorted(map(id, taken)) == sorted(map(id, requests))
