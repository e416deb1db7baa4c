"""Which requests run together, and who gets which rows. Knows neither models nor transports."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from services.inference.scheduling import Array, Request

R = TypeVar("R", bound=Request)


def batches(requests: Iterable[R], max_rows: int) -> Iterator[list[R]]:
    """Put requests of one form together, in order of arrival, up to `max_rows` rows.

    A request of more rows than that is a batch of its own; with 0, so is every request.
    """
    filling: dict[Hashable, list[R]] = {}
    rows: dict[Hashable, int] = {}
    for request in requests:
        form = request.form
        batch = filling.get(form)
        if batch is not None:
            if rows[form] + request.rows <= max_rows:
                batch.append(request)
                rows[form] += request.rows
                continue
            yield batch
        filling[form] = [request]
        rows[form] = request.rows
    yield from filling.values()


def merge(batch: Sequence[Request]) -> list[Array | None]:
    """The feeds of one run: every input's arrays, one request after the other."""
    if len(batch) == 1:
        return list(batch[0].feeds)
    columns = zip(*(r.feeds for r in batch), strict=True)
    return [_concatenated(column) for column in columns]


def _concatenated(arrays: Sequence[Array | None]) -> Array | None:
    given = [array for array in arrays if array is not None]
    return np.concatenate(given) if given else None


def split(outputs: Sequence[Array], batch: Sequence[Request]) -> Iterator[list[Array]]:
    """Each request's own rows of every output, in the order of the batch (views)."""
    start = 0
    for request in batch:
        stop = start + request.rows
        yield [output[start:stop] for output in outputs]
        start = stop


class Backlog(Generic[R]):
    """Requests that wait for a thread, bounded, first come first served."""

    def __init__(self, capacity: int) -> None:
        """`capacity` counts requests."""
        self._capacity = capacity
        self._waiting: deque[R] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def put(self, requests: Sequence[R]) -> list[R]:
        """Queue what there is room for and return what does not wait here after all.

        That is, when there is no room: those of `requests` that found none, and waiting ones
        that made room because nobody waits for their answer any more. After `close` there is
        room for none.
        """
        with self._changed:
            if self._closed:
                return list(requests)
            gone: list[R] = []
            if len(self._waiting) + len(requests) > self._capacity:
                gone = [r for r in self._waiting if r.is_abandoned]
                self._waiting = deque(r for r in self._waiting if not r.is_abandoned)
            room = self._capacity - len(self._waiting)
            self._waiting.extend(requests[:room])
            self._changed.notify()
            return [*gone, *requests[room:]]

    def take(self, max_rows: int) -> list[R]:
        """Wait for requests and take from the front up to `max_rows` rows, at least one request.

        Abandoned requests are among them and do not count. Empty: closed, and nothing is left.
        """
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            taken: list[R] = []
            rows = 0
            while self._waiting:
                request = self._waiting[0]
                size = 0 if request.is_abandoned else request.rows
                if rows and rows + size > max_rows:
                    break
                rows += size
                taken.append(self._waiting.popleft())
            if self._waiting:
                self._changed.notify()
            return taken

    def close(self) -> None:
        """Accept nothing more; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
