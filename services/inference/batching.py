"""Which requests run together, and who gets which rows. Knows neither models nor transports."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]


class Request(Protocol):
    """One caller's tensors and the one chance to answer.

    Attributes:
        feeds: one array per input of the model, in the model's order.
        rows: what the request counts for: the length of its feeds along axis 0, or 1 for a
            model whose requests run alone.
        form: requests of equal form can be concatenated along axis 0.
        arrived_ns: on `time.perf_counter_ns`'s clock.
    """

    feeds: Sequence[Array]
    rows: int
    form: Hashable
    arrived_ns: int

    @property
    def is_abandoned(self) -> bool:
        """Nobody waits for the answer any more."""

    def answer(self, outputs: Sequence[Array]) -> None:
        """Give the caller its rows, one array per output of the model."""

    def refuse(self, error: Exception) -> None:
        """Tell the caller why there is no answer; of no effect once there is one."""


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


def merge(batch: Sequence[Request]) -> list[Array]:
    """The feeds of one run: every input's arrays, one request after the other."""
    if len(batch) == 1:
        return list(batch[0].feeds)
    return [np.concatenate(arrays) for arrays in zip(*(r.feeds for r in batch), strict=True)]


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
