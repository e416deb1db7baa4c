"""Calls from other threads run on the loop, once each, in each thread's order."""

from __future__ import annotations

import asyncio
import threading

from wintergarden.service.transport.loop_queue import LoopQueue


class Counting(asyncio.SelectorEventLoop):
    """Knows how often it was woken."""

    wakes = 0

    def call_soon_threadsafe(self, *arguments, **options):
        self.wakes += 1
        return super().call_soon_threadsafe(*arguments, **options)


def test_what_comes_before_the_loop_looks_costs_one_wake_up() -> None:
    loop, ran = Counting(), []
    queue = LoopQueue(loop)
    for number in range(100):
        queue.put(ran.append, number)
    assert loop.wakes == 1
    queue.put(loop.stop)
    loop.run_forever()
    assert ran == list(range(100))
    queue.put(ran.append, "again")
    queue.put(loop.stop)
    loop.run_forever()
    assert ran[-1] == "again"
    assert loop.wakes == 2
    loop.close()


def test_nothing_is_lost_or_doubled_between_many_threads_and_the_loop() -> None:
    loop = asyncio.new_event_loop()
    queue, ran = LoopQueue(loop), []
    running = threading.Thread(target=loop.run_forever)
    running.start()

    def put(thread: int) -> None:
        for number in range(5_000):
            queue.put(ran.append, (thread, number))

    threads = [threading.Thread(target=put, args=(i,)) for i in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    queue.put(loop.stop)
    running.join(30)
    assert not running.is_alive()
    assert len(ran) == 20_000
    for thread in range(4):
        assert [n for t, n in ran if t == thread] == list(range(5_000))
    loop.close()


def test_a_closed_loop_is_told_nothing() -> None:
    loop, ran = asyncio.new_event_loop(), []
    loop.close()
    queue = LoopQueue(loop)
    queue.put(ran.append, 1)
    queue.put(ran.append, 2)
    assert ran == []
