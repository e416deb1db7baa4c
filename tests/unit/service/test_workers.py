from __future__ import annotations

import threading
from collections import Counter

from wintergarden.service.transport.workers import Workers


def test_never_more_threads_than_the_limit_and_all_tasks_run() -> None:
    workers = Workers("w", 4)
    seen: Counter[str] = Counter()
    done = threading.Semaphore(0)

    def task() -> None:
        seen[threading.current_thread().name] += 1
        done.release()

    for _ in range(1000):
        workers.submit(task)
    for _ in range(1000):
        assert done.acquire(timeout=5)
    workers.stop()
    assert sum(seen.values()) == 1000
    assert len(seen) <= 4


def test_a_waiting_task_does_not_keep_another_waiting() -> None:
    workers = Workers("w", 2)
    gate, ran = threading.Event(), threading.Event()
    for _ in range(20):  # idle threads are reused, and never promised twice
        once = threading.Event()
        workers.submit(once.set)
        assert once.wait(30)
    workers.submit(lambda: gate.wait(5) and None)
    workers.submit(ran.set)
    assert ran.wait(30)
    gate.set()
    workers.stop()


def test_a_failing_task_costs_no_thread() -> None:
    workers = Workers("w", 1)
    ran = threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    workers.submit(fail)
    workers.submit(ran.set)
    assert ran.wait(30)
    workers.stop()
