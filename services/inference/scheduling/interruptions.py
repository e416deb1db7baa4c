"""Takes the CPU away from a thread that computes, often and for a moment.

A thread that wakes up interrupts one of lower priority only while it has had less than its share
of the last milliseconds; one that has just answered a request waits for the kernel's next tick,
up to 4 ms away on a kernel of 250 Hz. Where whoever computes sleeps for a moment by itself, the
one that waits gets its turn in that moment.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_INTERVAL_NS = 200_000
"""From one interruption to the next."""
_FIRST_NS = 20_000_000
"""What takes less is not worth a timer."""

_CLOCK_MONOTONIC = 1
_SIGEV_THREAD_ID = 4
_SIG_DFL = None


class _Event(ctypes.Structure):
    """`struct sigevent` of Linux, as far as it notifies a thread."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("padding", ctypes.c_int * 11),
    )


class _Setting(ctypes.Structure):
    """`struct itimerspec`: the interval, then the first time, in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


@contextmanager
def interrupted() -> Iterator[None]:
    """The calling thread sleeps for some 90 µs each 200 µs, from its 20th millisecond on.

    By a timer's signal, whose handler is libc's `usleep` itself: no Python, so that it works
    while a library computes without Python's lock, or with it. System calls are begun again.
    Where the platform has no such timers, or the signal is somebody else's, nothing happens.
    """
    timer = _start()
    try:
        yield
    finally:
        if timer is not None:
            ctypes.CDLL(None).timer_delete(timer)


def _start() -> ctypes.c_void_p | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    number = int(signal.SIGRTMIN)
    # It is called with the signal's number, which as microseconds suits: 34, and 50 of slack.
    if not hasattr(libc, "timer_create") or not _handle(libc, number, libc.usleep):
        return None
    timer = ctypes.c_void_p()
    event = _Event(signal=number, notify=_SIGEV_THREAD_ID, thread=threading.get_native_id())
    if libc.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
        return None
    setting = _Setting(interval_ns=_INTERVAL_NS, first_ns=_FIRST_NS)
    libc.timer_settime(timer, 0, ctypes.byref(setting), None)
    return timer


def _handle(libc: ctypes.CDLL, number: int, function: object) -> bool:
    """Whether the signal calls the C function from now on, because nobody else uses it."""
    install = libc.signal
    install.restype, install.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    before = install(number, address)
    if before in (_SIG_DFL, address):
        return True
    install(number, before)
    return False
