"""Who gets the CPU first: requests, then long runs, and last what loads."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from services.inference.scheduling.interruptions import interrupted

T = TypeVar("T")

_LOADING = 10
"""Niceness of threads that load: requests wait for nothing of theirs."""

_LONG_RUNS = 5
"""Niceness of threads whose runs are long, on kernels that heed no slices."""

_LOCK_S = 0.0005
"""For how long Python's lock is kept while others wait for it; Python's own is ten times that."""

_SHORT_SLICE_NS = 100_000
"""The shortest that Linux takes."""
_LONG_SLICE_NS = 100_000_000
"""The longest."""
_HEEDS_SLICES = (6, 12)
"""Releases of Linux."""
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}
"""The number of the system call sched_setattr(2)."""
# `os` has these on Linux only.
_SCHED_OTHER, _SCHED_BATCH = 0, 3


class _SchedulingAttributes(ctypes.Structure):
    """`struct sched_attr` of Linux."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def serve_promptly() -> None:
    """Makes the calling thread one that soon gets its turn, with its share as it is.

    So are the threads and processes that it starts. Since Linux 6.12 a thread of a short slice
    interrupts those of longer ones when it wakes up, as far as it has not had its share. Within
    the process whoever waits for Python's lock gets it soon, too.
    """
    sys.setswitchinterval(_LOCK_S)
    if sys.platform == "linux" and os.sched_getscheduler(0) == _SCHED_OTHER:
        _schedule(_SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0), _SHORT_SLICE_NS)


def lower_for_long_runs() -> None:
    """Makes the calling thread one that whoever wakes up interrupts, with its full share.

    Niceness is a share over time: beside a saturated model, a fast one would be answered no sooner
    for it (p99 6.7 ms in place of 7), and the saturated one would lose a fifth of its throughput.
    """
    _lower(0 if _heeds_slices() else _LONG_RUNS)


def at_low_priority(task: Callable[[], T]) -> T:
    """Do a task in a thread that leaves the CPU to requests where both want it.

    A thread of its own, since an unprivileged thread cannot raise its priority again; the
    threads that it starts, as those of a session that it opens, inherit its priority.
    """
    future: Future[T] = Future()

    def work() -> None:
        _lower(_LOADING)
        try:
            with interrupted():
                result = task()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name="model-loader", daemon=True).start()
    return future.result()


def _lower(niceness: int) -> None:
    """Niceness, and long slices: since Linux 6.12 who wakes up interrupts who has the longer."""
    if sys.platform != "linux":  # elsewhere priorities belong to processes
        return
    niceness = max(niceness, os.getpriority(os.PRIO_PROCESS, 0))
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
    _schedule(_SCHED_BATCH, niceness, _LONG_SLICE_NS)


def _schedule(policy: int, niceness: int, slice_ns: int) -> None:
    """A wish of the calling thread: some kernels and sandboxes refuse it."""
    if number := _SET_ATTRIBUTES.get(platform.machine()):
        wanted = _SchedulingAttributes(
            size=ctypes.sizeof(_SchedulingAttributes),
            policy=policy,
            nice=niceness,
            runtime=slice_ns,
        )
        ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0)


def _heeds_slices() -> bool:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return release is not None and (int(release[1]), int(release[2])) >= _HEEDS_SLICES
