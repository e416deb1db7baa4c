"""Who waits for how long, who goes first, and who is told to leave."""

import gc
import threading
import time
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.scheduling.backlog import Backlog
from services.inference.scheduling.plan import Plan, QueuePolicy
from services.inference.scheduling.room import Room
from services.inference.scheduling.server_wide import ServerWide
from wintergarden.errors import Cancelled, Overloaded

SERIAL = count()
SERVER = ServerWide()


class Waiting:
    def __init__(self, rows=1, form=None, *, priority=0, timeout_us=0, is_abandoned=False):
        self.rows, self.form, self.priority, self.timeout_us = rows, form, priority, timeout_us
        self.is_abandoned = is_abandoned
        self.feeds = [np.zeros(rows, np.uint8), None]
        self.arrived_ns = time.perf_counter_ns()
        self.number = next(SERIAL)

    def __repr__(self):
        return f"#{self.number}"


class Expired(list):
    """What the backlog said is over, and when it said so."""

    def __init__(self):
        self.said = threading.Event()

    def __call__(self, requests):
        self.extend(requests)
        self.said.set()


def backlog_of(expired=None, *, server=None, **plan):
    plan = Plan(inputs=("x",), **plan)
    return Backlog(
        plan, server or SERVER, "model 'm' version 1", Expired() if expired is None else expired
    )


def taken(backlog):
    """What the next takers get, until nothing is left."""
    batches = []
    while len(backlog):
        batch, _ = backlog.take()
        batches.append(batch)
    return batches


def test_a_full_backlog_refuses_what_finds_no_room():
    backlog = backlog_of(max_waiting=2)
    requests = [Waiting() for _ in range(3)]
    ((refused, error),) = backlog.put(requests)
    assert refused is requests[2]
    assert isinstance(error, Overloaded)
    assert "2 requests wait already" in error.message
    assert len(backlog) == 2


def test_abandoned_requests_make_room_when_the_backlog_is_full():
    backlog = backlog_of(max_waiting=2)
    first, second, third = (Waiting() for _ in range(3))
    backlog.put([first, second])
    first.is_abandoned = True
    ((made_room, error),) = backlog.put([third])
    assert made_room is first
    assert isinstance(error, Cancelled)
    assert taken(backlog) == [[second, third]]


def test_a_batch_stops_before_the_limit_but_always_has_one():
    backlog = backlog_of(max_rows=4)
    large, small, other = Waiting(7), Waiting(2), Waiting(3)
    backlog.put([large, small, other])
    assert taken(backlog) == [[large], [small], [other]]


def test_abandoned_requests_take_no_room_in_a_batch():
    backlog = backlog_of(max_rows=4)
    gone, *rest = [Waiting(4, is_abandoned=True), Waiting(3), Waiting(1)]
    backlog.put([gone, *rest])
    assert backlog.take() == (rest, [gone])


def test_requests_without_rows_run_alone():
    backlog = backlog_of()
    requests = [Waiting(rows) for rows in (0, 1, 0, 2, 3)]
    backlog.put(requests)
    assert [[r.rows for r in batch] for batch in taken(backlog)] == [[0], [1], [0], [2, 3]]


def test_a_closed_backlog_is_emptied_and_then_says_so():
    backlog = backlog_of()
    waiting = Waiting()
    backlog.put([waiting])
    backlog.close()
    assert backlog.put([Waiting()]) is None
    assert backlog.wait()
    assert backlog.take() == ([waiting], [])
    assert not backlog.wait()


@pytest.mark.parametrize("takers", [1, 4])
def test_takers_wait_until_there_is_something_and_end_on_close(takers):
    backlog = backlog_of(max_rows=3)
    got, threads = [], []

    def work():
        while backlog.wait():
            got.extend(backlog.take()[0])

    for _ in range(takers):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
    requests = [Waiting() for _ in range(500)]
    for request in requests:
        assert backlog.put([request]) == []
    backlog.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sorted(map(id, got)) == sorted(map(id, requests))


def test_a_batch_is_of_one_form_and_forms_take_turns():
    backlog = backlog_of(max_rows=2)
    requests = [Waiting(form=form) for form in "aaaabab"]
    backlog.put(requests)
    assert ["".join(r.form for r in batch) for batch in taken(backlog)] == ["aa", "bb", "aa", "a"]


def test_a_kept_order_is_kept_across_forms():
    backlog = backlog_of(max_rows=2, preserves_order=True)
    requests = [Waiting(form=form) for form in "aabaaa"]
    backlog.put(requests)
    batches = taken(backlog)
    assert ["".join(r.form for r in batch) for batch in batches] == ["aa", "b", "aa", "a"]
    assert [r for batch in batches for r in batch] == requests


def test_the_most_urgent_go_first_and_others_fill_the_batch():
    backlog = backlog_of(max_rows=2, priority_levels=3, default_priority=2)
    lazy, usual, urgent, unknown = (Waiting(priority=p) for p in (3, 0, 1, 9))
    backlog.put([lazy, usual, urgent, unknown])
    assert taken(backlog) == [[urgent, usual], [unknown, lazy]]


def test_each_priority_has_a_limit_of_its_own():
    backlog = backlog_of(
        priority_levels=2,
        default_priority=1,
        queue_policy=QueuePolicy(max_waiting=2),
        priority_policies={2: QueuePolicy(max_waiting=1)},
    )
    urgent = [Waiting(priority=1) for _ in range(3)]
    lazy = [Waiting(priority=2) for _ in range(2)]
    refused = backlog.put([*lazy, *urgent])
    assert [request for request, _ in refused] == [lazy[1], urgent[2]]
    assert [error.message for _, error in refused] == [
        "model 'm' version 1: 1 requests of priority 2 wait already, the most allowed",
        "model 'm' version 1: 2 requests of priority 1 wait already, the most allowed",
    ]


@pytest.mark.parametrize(
    ("allowed_us", "wished_us", "override", "kept_us"),
    [
        (0, 0, True, 0),
        (0, 20_000, True, 20_000),
        (0, 20_000, False, 0),
        (20_000, 0, True, 20_000),
        (20_000, 10**12, True, 20_000),  # never for longer than the queue allows
        (10**12, 20_000, True, 20_000),
        (10**12, 20_000, False, 10**12),
        (10**15, -5, True, 10**15),
    ],
)
def test_how_long_a_request_may_wait(allowed_us, wished_us, override, kept_us):
    expired = Expired()
    policy = QueuePolicy(timeout_us=allowed_us, allows_override=override)
    backlog = backlog_of(expired, queue_policy=policy)
    request = Waiting(timeout_us=wished_us)
    backlog.put([request])
    assert expired.said.wait(0.3) == (kept_us == 20_000)
    assert expired == ([request] if kept_us == 20_000 else [])
    assert len(backlog) == (not expired)


def test_a_request_is_told_the_moment_its_time_is_over():
    expired = Expired()
    backlog = backlog_of(expired)
    later, soon, forever = Waiting(timeout_us=900_000), Waiting(timeout_us=30_000), Waiting()
    started = time.perf_counter()
    backlog.put([later, soon, forever])
    assert expired.said.wait(30)
    assert expired == [soon], "not with the next"
    assert time.perf_counter() - started >= 0.03
    while len(expired) < 2:
        time.sleep(0.001)
    assert expired == [soon, later]
    assert time.perf_counter() - started >= 0.9
    assert taken(backlog) == [[forever]]


def test_what_was_taken_in_time_is_not_told():
    expired = Expired()
    backlog = backlog_of(expired)
    backlog.put([Waiting(timeout_us=20_000) for _ in range(3)])
    assert len(backlog.take()[0]) == 3
    assert not expired.said.wait(0.1)


def test_the_delayed_stand_behind_all_others_of_their_priority():
    policy = QueuePolicy(timeout_us=10_000, timeout_action="DELAY")
    backlog = backlog_of(max_rows=1, priority_levels=2, default_priority=1, queue_policy=policy)
    late, lazy = Waiting(priority=1), Waiting(priority=2)
    backlog.put([late, lazy])
    time.sleep(0.05)
    punctual, lazy_too = Waiting(priority=1), Waiting(priority=2)
    backlog.put([punctual, lazy_too])
    assert len(backlog) == 4
    assert [batch[0] for batch in taken(backlog)] == [punctual, late, lazy_too, lazy]


def test_a_backlog_that_nobody_empties_stays_small():
    expired = Expired()
    backlog = backlog_of(expired, max_waiting=10)
    backlog.put([Waiting()])  # it hangs, and all others stand behind it
    for _ in range(2_000):
        backlog.put([Waiting(timeout_us=50)])
        time.sleep(0.0001)
    while len(backlog) > 1:
        time.sleep(0.001)
    (line,) = backlog._queues[0]
    assert len(line.tickets) < 100
    assert len(backlog._due) < 100
    assert len(SERVER.timer._due) < 500


def test_a_queue_delay_waits_for_company_and_no_longer():
    backlog = backlog_of(max_rows=4, max_queue_delay_us=60_000)
    started = time.perf_counter()
    backlog.put([Waiting()])
    assert backlog.wait()
    assert time.perf_counter() - started >= 0.06
    assert [len(batch) for batch in taken(backlog)] == [1]


def test_a_full_batch_does_not_wait_for_more():
    delay_s = 30
    backlog = backlog_of(max_rows=4, max_queue_delay_us=delay_s * 1_000_000)
    started = time.perf_counter()
    backlog.put([Waiting() for _ in range(4)])
    assert backlog.wait()
    assert time.perf_counter() - started < delay_s
    assert [len(batch) for batch in taken(backlog)] == [4]


def test_a_delayed_batch_of_one_form_does_not_hold_up_a_full_one_of_another():
    backlog = backlog_of(max_rows=2, max_queue_delay_us=10**7)
    backlog.put([Waiting(form="a"), Waiting(form="b"), Waiting(form="b")])
    assert backlog.wait()
    assert ["".join(r.form for r in backlog.take()[0])] == ["bb"]
    backlog.close()
    assert backlog.wait(), "what waits for company is let go at the end"
    assert [r.form for r in backlog.take()[0]] == ["a"]


def test_preferred_sizes_are_taken_where_enough_waits():
    backlog = backlog_of(max_rows=64, preferred_rows=(4, 8))
    backlog.put([Waiting() for _ in range(15)])
    assert [len(batch) for batch in taken(backlog)] == [8, 4, 3]


def test_the_smallest_preferred_size_ends_the_delay():
    backlog = backlog_of(max_rows=64, preferred_rows=(4, 8), max_queue_delay_us=10**7)
    backlog.put([Waiting() for _ in range(3)])
    threading.Timer(0.05, lambda: backlog.put([Waiting(), Waiting()])).start()
    assert backlog.wait()
    assert len(backlog.take()[0]) == 4
    assert len(backlog) == 1


def fill(backlog, count, rows=1):
    refused = [r for _ in range(count) for r in backlog.put([Waiting(rows)])]
    assert all("the rest is kept for others" in error.message for _, error in refused)
    return count - len(refused)


def test_a_flood_on_some_models_leaves_room_for_the_others():
    server = ServerWide(room=Room(max_requests=800, max_bytes=10**9))
    one, two, three = (backlog_of(server=server, max_waiting=10**6) for _ in range(3))
    assert fill(one, 1000) == pytest.approx(400, abs=5)
    assert fill(two, 1000) == pytest.approx(200, abs=5)
    assert fill(three, 50) == 50, "and none of it is kept from who wants little"
    while len(one) > 100:
        one.take()
    assert fill(two, 1000) > 100, "what one gives back, another may have"
    del one, two, three
    gc.collect()
    assert fill(backlog_of(server=server), 390) == 390, "queues that are gone take no room"


def test_large_requests_leave_room_as_well():
    server = ServerWide(room=Room(max_requests=800, max_bytes=8_000))
    one, two = backlog_of(server=server), backlog_of(server=server)
    assert fill(one, 20, rows=1000) == 4
    assert fill(two, 20, rows=1000) == 2
    assert one.bytes_waiting == 4000
    taken(one)
    assert one.bytes_waiting == 0
    assert fill(two, 20, rows=2000) == 1


orders = st.lists(
    st.builds(
        Waiting,
        st.integers(0, 5),
        st.sampled_from("ab"),
        priority=st.integers(0, 4),
        is_abandoned=st.booleans(),
    ),
    max_size=30,
)


@given(
    orders=orders,
    max_rows=st.integers(0, 8),
    levels=st.integers(0, 3),
    keeps=st.booleans(),
    preferred=st.sampled_from([(), (2,), (3, 5)]),
)
def test_everyone_leaves_once_in_a_batch_of_their_form(orders, max_rows, levels, keeps, preferred):
    backlog = backlog_of(
        max_rows=max_rows,
        priority_levels=levels,
        default_priority=min(levels, 1),
        preserves_order=keeps,
        preferred_rows=preferred if max_rows > max(preferred, default=0) else (),
    )
    assert backlog.put(orders) == []
    left = []
    while len(backlog):
        batch, gone = backlog.take()
        assert batch or gone
        assert all(r.is_abandoned for r in gone)
        assert not any(r.is_abandoned for r in batch)
        assert len({r.form for r in batch}) <= 1
        assert len(batch) <= 1 or (sum(r.rows for r in batch) <= max_rows)
        left += [*batch, *gone]
    assert sorted(map(id, left)) == sorted(map(id, orders))
    if keeps and not levels:
        in_order = [r.number for r in left if not r.is_abandoned]
        assert in_order == sorted(in_order)


def test_one_of_any_size_waits_alone():
    """Refused by an idle server, it would be for ever."""
    server = ServerWide(room=Room(max_requests=800, max_bytes=8_000))
    one = backlog_of(server=server)
    assert fill(one, 3, rows=9_000) == 1
    taken(one)
    assert fill(one, 1, rows=9_000) == 1


def test_what_runs_alone_is_not_taken_by_preferred_sizes():
    backlog = backlog_of(max_rows=0, preferred_rows=(4,))
    backlog.put([Waiting() for _ in range(4)])
    assert [len(batch) for batch in taken(backlog)] == [1] * 4
