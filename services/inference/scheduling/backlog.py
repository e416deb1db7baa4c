"""Requests that wait for a thread: bounded, the most urgent first, each for as long as it may.

The rules are those of Triton's dynamic batcher.
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/batcher.md
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter_ns
from typing import Generic

from services.inference.scheduling.batching import R
from services.inference.scheduling.level import Level
from services.inference.scheduling.lines import Line, Ticket
from services.inference.scheduling.plan import Plan
from services.inference.scheduling.room import FULL_NS
from services.inference.scheduling.server_wide import ServerWide
from wintergarden.errors import Cancelled, Overloaded, WintergardenError

_MANY = 64
_NS_PER_US = 1_000

Refused = list[tuple[R, WintergardenError]]


class Backlog(Generic[R]):
    """The queues of a model version.

    Whoever takes requests first waits until there is something to take (`wait`) and then takes
    what is there by then (`take`), so that a run that has to wait for something else in between
    grows meanwhile, and its requests can still be refused.
    """

    def __init__(
        self,
        plan: Plan,
        server: ServerWide,
        label: str,
        expire: Callable[[Sequence[R]], None],
    ) -> None:
        """Have nothing yet.

        Args:
            plan: says who may wait for how long.
            server: has the timer, and the room for all that waits.
            label: what messages call the model.
            expire: is given the requests whose time is over, on the timer's thread.
        """
        self._plan = plan
        levels = range(1, max(1, plan.priority_levels) + 1)
        self._levels: list[Level[R]] = [Level(plan, priority, label) for priority in levels]
        self._default = self._levels[max(1, min(plan.default_priority, len(levels))) - 1]
        self._queues = [q for level in self._levels for q in (level.punctual, level.delayed)]
        self._full = Overloaded(
            f"{label}: {plan.max_waiting} requests wait already, the most allowed"
        )
        self._crowded = Overloaded(f"{label}: so much waits here that the rest is kept for others")
        self._target = min(plan.preferred_rows, default=max(1, plan.max_rows))
        self._changed = threading.Condition()
        self._is_closed = False
        self._searched_ns = 0
        self._expire_all = expire
        # When which requests are due; an entry stays behind when its request has been taken.
        self._due: list[tuple[int, int, Ticket[R], Level[R]]] = []
        self._serial = count()
        self._alarm = server.timer.alarm(self._expire)
        self._room = server.room
        self._room.enter(self)

    def __len__(self) -> int:
        return sum(queue.requests for queue in self._queues)

    @property
    def bytes_waiting(self) -> int:
        return sum(queue.bytes for queue in self._queues)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Accept nothing more; what waits can still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def put(self, requests: Sequence[R]) -> Refused[R] | None:
        """Queue requests.

        Returns:
            Those that there is no room for and those that made room, since nobody waits for
            their answer any more, with what to tell them; None once it is closed.
        """
        refused: Refused[R] = []
        with self._changed:
            if self._is_closed:
                return None
            if self._plan.max_waiting - len(self) < len(requests):
                refused += self._make_room()
            sizes = [_size(request) for request in requests]
            room = self._plan.max_waiting - len(self)
            share = self._room.requests_for(self, len(requests))
            bytes_left = self._room.bytes_for(self, sum(sizes))
            for request, size in zip(requests, sizes, strict=True):
                number = request.priority
                is_known = 0 < number <= len(self._levels)
                level = self._levels[number - 1] if is_known else self._default
                if room <= 0:
                    refused.append((request, self._full))
                elif level.is_full:
                    refused.append((request, level.full))
                elif share <= 0 or (size > bytes_left and len(self)):
                    # One of any size may wait alone: refused now, it would be for ever.
                    refused.append((request, self._crowded))
                else:
                    room -= 1
                    share -= 1
                    bytes_left -= size
                    self._add(request, size, level)
            self._changed.notify()
        return refused

    def overflow(self) -> Overloaded | None:
        """What `put` would tell any request now, without the lock; None where it has to look."""
        if self._is_closed or len(self) < self._plan.max_waiting:
            return None
        has_searched = perf_counter_ns() - self._searched_ns < FULL_NS
        return self._full if has_searched else None

    def wait(self) -> bool:
        """Wait until something may be taken; false once it is closed and nothing is left."""
        with self._changed:
            while True:
                if self._is_closed:
                    return len(self) > 0
                pause_ns = self._pause_ns()
                if pause_ns == 0:
                    return True
                self._changed.wait(None if pause_ns is None else pause_ns / 1e9)

    def take(self) -> tuple[list[R], list[R]]:
        """A batch to run, and requests found abandoned on the way; both may be empty."""
        batch: list[R] = []
        gone: list[R] = []
        with self._changed:
            line = self._next_line()
            if line is not None:
                form, room = line.form, self._rows_to_take(line.form)
                for queue in self._queues:
                    if room > 0:
                        room = queue.take(form, room, batch, gone)
                if len(self):
                    self._changed.notify()
        return batch, gone

    def _add(self, request: R, size: int, level: Level[R]) -> None:
        ticket = level.punctual.append(request, size)
        timeout_us = level.timeout_us(request.timeout_us)
        if not timeout_us:
            return
        if len(self._due) > 2 * len(self) + _MANY:
            self._due = [entry for entry in self._due if entry[2].request is not None]
            heapq.heapify(self._due)
        due_ns = request.arrived_ns + timeout_us * _NS_PER_US
        heapq.heappush(self._due, (due_ns, next(self._serial), ticket, level))
        if self._due[0][2] is ticket:
            self._alarm.set(due_ns)

    def _expire(self) -> None:
        expired: list[R] = []
        with self._changed:
            now = perf_counter_ns()
            while self._due and (self._due[0][0] <= now or self._due[0][2].request is None):
                _, _, ticket, level = heapq.heappop(self._due)
                request = ticket.request
                if request is None:
                    continue
                level.punctual.leave(ticket)
                if level.policy.timeout_action == "DELAY":
                    level.delayed.append(request, ticket.size)
                else:
                    expired.append(request)
            if self._due:
                self._alarm.set(self._due[0][0])
        if expired:
            self._expire_all(expired)

    def _make_room(self) -> Refused[R]:
        now = perf_counter_ns()
        if now - self._searched_ns < FULL_NS:
            return []
        self._searched_ns = now
        self._room.found_full(now)
        left: Refused[R] = []
        for queue in self._queues:
            gone = queue.abandoned()
            if gone:
                queue.leave_all(gone)
                left += [(request, abandoned()) for request in gone]
        return left

    def _next_line(self) -> Line[R] | None:
        if self._plan.max_queue_delay_us and not self._is_closed:
            now = perf_counter_ns()
            return next((x for q in self._queues for x in q if self._is_ripe(x, now)), None)
        return next((line for queue in self._queues for line in queue), None)

    def _pause_ns(self) -> int | None:
        """How long to wait for what is there already; None: until something comes."""
        if not len(self):
            return None
        delay_ns = self._plan.max_queue_delay_us * _NS_PER_US
        if not delay_ns:
            return 0
        lines = [line for queue in self._queues for line in queue]
        if any(self._rows(line.form) >= self._target for line in lines):
            return 0
        return max(0, min(map(_arrived_ns, lines)) + delay_ns - perf_counter_ns())

    def _is_ripe(self, line: Line[R], now_ns: int) -> bool:
        delay_ns = self._plan.max_queue_delay_us * _NS_PER_US
        return self._rows(line.form) >= self._target or now_ns - _arrived_ns(line) >= delay_ns

    def _rows(self, form: object) -> int:
        return sum(queue.rows(form) for queue in self._queues)

    def _rows_to_take(self, form: object) -> int:
        """How many rows the next batch of a form may have."""
        if self._plan.max_rows and self._plan.preferred_rows:
            rows = self._rows(form)
            fitting = [size for size in self._plan.preferred_rows if size <= rows]
            if fitting:
                return max(fitting)
        return max(1, self._plan.max_rows)


def abandoned() -> Cancelled:
    return Cancelled("nobody waits for the answer any more")


def _size(request: R) -> int:
    size = 0
    for feed in request.feeds:
        if feed is not None:
            size += feed.nbytes
    return size


def _arrived_ns(line: Line[R]) -> int:
    return next(t.request.arrived_ns for t in line.tickets if t.request is not None)
