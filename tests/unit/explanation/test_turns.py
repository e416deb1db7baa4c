from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.explanation.turns import Turns
from wintergarden.errors import Cancelled, Overloaded


def nothing() -> None:
    pass


def test_so_many_run_and_so_many_wait() -> None:
    turns = Turns(running=2, waiting=1)
    release, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with turns.taken(nothing):
            with lock:
                running += 1
                most = max(most, running)
            release.wait(10)
            with lock:
                running -= 1

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(work) for _ in range(3)]
        while running < 2:
            pass
        for _ in range(100):  # the third has its place once it has come
            try:
                with turns.taken(_give_up):
                    pass
            except Overloaded as error:
                assert "2 requests are running and 1 waiting already" in error.message
                assert error.retry_after_s > 0
                break
            except Cancelled:
                continue
        else:
            pytest.fail("a fourth was never refused")
        release.set()
        for job in jobs:
            job.result()
    assert most == 2
    with turns.taken(nothing):
        pass


def _give_up() -> None:
    raise Cancelled("the client has gone")


def test_who_has_gone_stops_waiting_and_leaves_its_place() -> None:
    turns = Turns(running=1, waiting=1)
    with turns.taken(nothing):
        for _ in range(3):
            with pytest.raises(Cancelled), turns.taken(_give_up):
                pytest.fail("it was not its turn")


def test_a_failure_gives_the_turn_back() -> None:
    turns = Turns(running=1, waiting=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turns.taken(nothing):
            raise ZeroDivisionError
