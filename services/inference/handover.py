"""Hands requests from one scheduler to another, from within an answer too.

A run that is over at once answers inside `submit`, and the answer may bring the next request,
and so on: nested calls would use up the stack, and requests that become ready together would run
one by one. What becomes ready while a thread is handing over is handed over by that thread
afterwards, all of it together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from services.inference.scheduling import Scheduler

Handed = tuple[Scheduler[Any], Any]


class _Later(threading.local):
    """What this thread has yet to hand over; None while it is not handing over."""

    pairs: list[Handed] | None = None


_later = _Later()


def hand_over(pairs: Iterable[Handed]) -> None:
    """Submit each request to its scheduler: at once, or when this thread is done submitting."""
    if _later.pairs is not None:
        _later.pairs.extend(pairs)
        return
    now = list(pairs)
    try:
        while now:
            _later.pairs = []
            together: dict[Scheduler[Any], list[Any]] = {}
            for scheduler, request in now:
                together.setdefault(scheduler, []).append(request)
            for scheduler, requests in together.items():
                scheduler.submit(requests)
            now = _later.pairs
    finally:
        _later.pairs = None
