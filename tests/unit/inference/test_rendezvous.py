"""Versions that answer in all processes or in none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, sleep

import pytest

from services.inference.processes.rendezvous import Rendezvous


class Processes:
    def __init__(self, *members: int, limit_s: float = 20) -> None:
        self.members = set(members)
        self.rendezvous = Rendezvous(lambda: self.members, limit_s)
        self._pool = ThreadPoolExecutor(8)

    def arrive(self, process: int, problem: str = "", version: int = 1) -> Future[str]:
        return self._pool.submit(self.rendezvous.meet, process, "m", version, problem)

    def dies(self, process: int) -> None:
        self.members = self.members - {process}
        self.rendezvous.members_changed()


def is_waiting(*futures: Future[str]) -> bool:
    sleep(0.1)
    return not any(future.done() for future in futures)


def test_nobody_goes_on_before_the_last_has_come() -> None:
    processes = Processes(0, 1, 2)
    first, second = processes.arrive(0), processes.arrive(1)
    assert is_waiting(first, second)
    last = processes.arrive(2)
    assert [f.result(5) for f in (first, second, last)] == ["", "", ""]


def test_one_that_failed_fails_all_whether_they_came_before_or_after() -> None:
    processes = Processes(0, 1, 2)
    early = processes.arrive(0)
    assert is_waiting(early)
    assert processes.arrive(1, "no memory").result(5) == "no memory"
    assert early.result(5) == "no memory"
    assert processes.arrive(2).result(5) == "no memory"


def test_after_a_failure_the_next_attempt_is_a_new_one() -> None:
    processes = Processes(0, 1)
    processes.arrive(0, "no memory").result(5)
    processes.arrive(1).result(5)
    again = processes.arrive(0)
    assert is_waiting(again)
    assert processes.arrive(1).result(5) == again.result(5) == ""


def test_versions_do_not_meet_one_another() -> None:
    processes = Processes(0, 1)
    one, two = processes.arrive(0, version=1), processes.arrive(1, version=2)
    assert is_waiting(one, two)
    processes.arrive(1, version=1)
    assert one.result(5) == ""
    assert not two.done()
    processes.arrive(0, version=2)
    assert two.result(5) == ""


def test_nobody_waits_for_the_dead() -> None:
    processes = Processes(0, 1)
    alone = processes.arrive(0)
    assert is_waiting(alone)
    processes.dies(1)
    assert alone.result(5) == ""


def test_one_that_does_not_answer_yet_neither_waits_nor_counts() -> None:
    processes = Processes(0, 1)
    first = processes.arrive(0)
    assert processes.arrive(7).result(5) == ""
    assert processes.arrive(7, "no memory").result(5) == "no memory"
    assert is_waiting(first)
    processes.arrive(1)
    assert first.result(5) == ""


def test_a_process_that_does_not_come_is_waited_for_in_vain_only_so_long() -> None:
    processes = Processes(0, 1, limit_s=0.3)
    started = monotonic()
    assert processes.arrive(0).result(5) == ""
    assert 0.2 < monotonic() - started < 3
    assert processes.arrive(1).result(5) == ""


@pytest.mark.parametrize("rounds", [50])
def test_many_meetings_leave_nothing_behind(rounds: int) -> None:
    processes = Processes(0, 1, 2)
    outcomes: list[str] = []

    def live(process: int) -> None:
        for version in range(rounds):
            problem = "no" if version % 3 == process else ""
            outcomes.append(processes.rendezvous.meet(process, "m", version, problem))

    threads = [threading.Thread(target=live, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert outcomes == ["no"] * (3 * rounds)
    _until(lambda: not processes.rendezvous._meetings)


def _until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 5
    while not condition():
        assert monotonic() < end
        sleep(0.01)
