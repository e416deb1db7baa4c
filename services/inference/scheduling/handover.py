"""Hands requests from one scheduler to another, from within an answer too.

A run that is over at once answers inside `submit`, and the answer may bring the next request,
and so on: nested calls would use up the stack, and requests that become ready together would run
one by one. What comes up while a thread is handing over is seen to by that thread afterwards,
and requests for one scheduler go there together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from services.inference.scheduling.scheduler import Scheduler

Handed = tuple[Scheduler[Any], Any]


class _Later(threading.local):
    """What this thread has yet to see to; None while it is not handing over."""

    pairs: list[Handed] | None = None
    calls: list[Callable[[], None]]


_later = _Later()


def hand_over(pairs: Iterable[Handed]) -> None:
    """Submit each request to its scheduler: at once, or when this thread is done submitting."""
    if _later.pairs is None:
        _see_to(list(pairs), [])
    else:
        _later.pairs.extend(pairs)


def call_later(call: Callable[[], None]) -> None:
    """Make a call that may lead to others of its kind: at once, or after those under way."""
    if _later.pairs is None:
        _see_to([], [call])
    else:
        _later.calls.append(call)


def _see_to(pairs: list[Handed], calls: list[Callable[[], None]]) -> None:
    try:
        while pairs or calls:
            _later.pairs, _later.calls = [], []
            together: dict[Scheduler[Any], list[Any]] = {}
            for scheduler, request in pairs:
                together.setdefault(scheduler, []).append(request)
            for scheduler, requests in together.items():
                scheduler.submit(requests)
            for call in calls:
                call()
            pairs, calls = _later.pairs, _later.calls
    finally:
        _later.pairs = None
