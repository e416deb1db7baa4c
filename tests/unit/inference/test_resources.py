import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.scheduling.plan import Resource
from services.inference.scheduling.resources import ResourcePool
from wintergarden.errors import FailedPrecondition


def admit(pool, *resources, device="cpu", priority=1):
    return pool.admit(resources, device=device, priority=priority, label="model 'm' version 1")


class Runs:
    """Runs of models, each in a thread, that end when they are told to."""

    def __init__(self, pool):
        self.pool = pool
        self.under_way = []
        self.started = []
        self._runs = []

    def start(self, name, need):
        is_over = threading.Event()

        def run():
            with self.pool.hold(need):
                self.started.append(name)
                self.under_way.append(name)
                is_over.wait(10)
                self.under_way.remove(name)

        thread = threading.Thread(target=run)
        before = len(self.pool._turns) + len(self.started)
        thread.start()
        until = time.monotonic() + 5
        while len(self.pool._turns) + len(self.started) == before and time.monotonic() < until:
            time.sleep(0.001)

        def end():
            is_over.set()
            thread.join(5)

        self._runs.append((is_over, thread))
        return end

    def end(self):
        for is_over, _ in self._runs:
            is_over.set()
        for _, thread in self._runs:
            thread.join(5)
            assert not thread.is_alive()


def eventually_equal(read, expected):
    until = time.monotonic() + 5
    while read() != expected and time.monotonic() < until:
        time.sleep(0.001)
    assert read() == expected


def test_a_run_waits_for_what_others_hold():
    pool = ResourcePool({"r": 3})
    two, one = admit(pool, Resource("r", 2)), admit(pool, Resource("r", 1))
    runs = Runs(pool)
    end = runs.start("first two", two)
    runs.start("second two", two)
    eventually_equal(lambda: runs.under_way, ["first two"])
    end()
    eventually_equal(lambda: runs.under_way, ["second two"])
    runs.start("one", one)
    eventually_equal(lambda: runs.under_way, ["second two", "one"])
    runs.end()


def test_the_modest_do_not_starve_the_greedy():
    pool = ResourcePool({"r": 2})
    all_of_it, one = admit(pool, Resource("r", 2)), admit(pool, Resource("r", 1))
    runs = Runs(pool)
    end = runs.start("one", one)
    runs.start("all", all_of_it)
    runs.start("another", one)  # there is room for it, but it is not its turn
    time.sleep(0.02)
    assert runs.under_way == ["one"]
    end()
    eventually_equal(lambda: runs.under_way, ["all"])
    runs.end()


def test_who_waits_for_something_else_is_not_held_up():
    pool = ResourcePool({"r": 1, "s": 1})
    r, s = admit(pool, Resource("r", 1)), admit(pool, Resource("s", 1))
    runs = Runs(pool)
    runs.start("r", r)
    runs.start("r too", r)
    runs.start("s", s)
    eventually_equal(lambda: runs.under_way, ["r", "s"])
    runs.end()


def test_a_resource_is_of_a_device_or_of_the_server():
    pool = ResourcePool({"r": 1})
    cpu = admit(pool, Resource("r", 1), device="cpu")
    cuda = admit(pool, Resource("r", 1), device="cuda")
    whole = [admit(pool, Resource("r", 1, is_global=True), device=d) for d in ("cpu", "cuda")]
    runs = Runs(pool)
    for name, need in {"cpu": cpu, "cuda": cuda, "one": whole[0], "other": whole[1]}.items():
        runs.start(name, need)
    eventually_equal(lambda: runs.under_way, ["cpu", "cuda", "one"])
    runs.end()


@pytest.mark.parametrize("priority", [2, 3])
def test_priority_divides_the_runs(priority):
    pool = ResourcePool({"r": 1})
    often, rarely = (
        admit(pool, Resource("r", 1), priority=1),
        admit(pool, Resource("r", 1), priority=priority),
    )
    runs = Runs(pool)
    holder = runs.start("holder", admit(pool, Resource("r", 1)))
    for _ in range(12):
        runs.start("often", often)
        runs.start("rarely", rarely)
    holder()
    runs.end()
    first = runs.started[1 : 1 + 4 * (priority + 1)]
    assert first.count("rarely") == pytest.approx(4, abs=1)
    assert sorted(runs.started) == ["holder"] + 12 * ["often"] + 12 * ["rarely"]


def test_a_newcomer_does_not_have_every_turn_until_it_has_caught_up():
    pool = ResourcePool({"r": 1})
    old = admit(pool, Resource("r", 1))
    for _ in range(100):
        with pool.hold(old):
            pass
    new = admit(pool, Resource("r", 1))
    runs = Runs(pool)
    holder = runs.start("holder", admit(pool, Resource("r", 1)))
    for _ in range(3):
        runs.start("old", old)
        runs.start("new", new)
    holder()
    runs.end()
    assert runs.started.index("old") <= 2


def test_more_than_the_server_has_is_refused():
    pool = ResourcePool({"r": 2})
    with pytest.raises(FailedPrecondition, match="version 1: a run needs 3 of resource 'r', and"):
        admit(pool, Resource("r", 2), Resource("r", 1))


def test_what_nobody_limits_is_as_much_as_the_largest_need():
    pool = ResourcePool()
    two, three = admit(pool, Resource("r", 2)), admit(pool, Resource("r", 3))
    runs = Runs(pool)
    runs.start("two", two)
    runs.start("two too", two)
    eventually_equal(lambda: runs.under_way, ["two"])
    runs.end()
    pool.dismiss(three)
    pool.dismiss(two)
    with pool.hold(three):
        pass  # dismissed, with a run to go: it does not wait for ever


def test_a_run_that_fails_gives_back_what_it_held():
    pool = ResourcePool({"r": 1})
    need = admit(pool, Resource("r", 1))
    with pytest.raises(ZeroDivisionError), pool.hold(need):
        raise ZeroDivisionError
    with pool.hold(need):
        pass


needs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=20)
@given(needs=needs, limit=st.integers(3, 5))
def test_nothing_is_held_twice_and_everybody_gets_a_turn(needs, limit):
    pool = ResourcePool({"r": limit, "s": limit})
    held = {"r": 0, "s": 0}
    lock = threading.Lock()
    done = []

    def run(need, amounts):
        for _ in range(5):
            with pool.hold(need):
                with lock:
                    for name, amount in amounts.items():
                        held[name] += amount
                        assert held[name] <= limit
                time.sleep(0.0001)
                with lock:
                    for name, amount in amounts.items():
                        held[name] -= amount
            done.append(need)

    threads = []
    for r, s in needs:
        need = admit(pool, Resource("r", r), Resource("s", s))
        threads.append(threading.Thread(target=run, args=(need, {"r": r, "s": s})))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(done) == 5 * len(needs)
