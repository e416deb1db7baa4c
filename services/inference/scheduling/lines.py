"""Requests that wait, sorted so that those that may share a run stand behind one another."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic

from services.inference.scheduling.batching import R

_MANY = 32


class Ticket(Generic[R]):
    """The place of a request in a line; without a request once that has left.

    Attributes:
        size: bytes of the request's tensors.
    """

    __slots__ = ("line", "request", "size")

    def __init__(self, request: R, size: int, line: Line[R]) -> None:
        self.request: R | None = request
        self.size = size
        self.line = line


class Line(Generic[R]):
    """Requests of one form, in order of arrival.

    Attributes:
        requests: that wait in it; `tickets` may be more.
        rows: of all of them.
    """

    __slots__ = ("form", "requests", "rows", "tickets")

    def __init__(self, form: Hashable) -> None:
        self.form = form
        self.tickets: deque[Ticket[R]] = deque()
        self.requests = 0
        self.rows = 0


class Lines(Generic[R]):
    """Lines of equal urgency. Forms take turns: none waits for ever behind a busier one.

    Attributes:
        requests: in all lines.
        bytes: of their tensors.
    """

    def __init__(self, *, keeps_order: bool) -> None:
        """With `keeps_order` there is one line for all, in order of arrival."""
        self._keeps_order = keeps_order
        self._lines: dict[Hashable, Line[R]] = {}
        self.requests = 0
        self.bytes = 0

    def __iter__(self) -> Iterator[Line[R]]:
        """None of them is empty."""
        return iter(self._lines.values())

    def rows(self, form: Hashable) -> int:
        line = self._lines.get(form)
        return 0 if line is None else line.rows

    def abandoned(self) -> list[R]:
        waiting = (t.request for line in self for t in line.tickets if t.request is not None)
        return [request for request in waiting if request.is_abandoned]

    def append(self, request: R, size: int) -> Ticket[R]:
        form = None if self._keeps_order else request.form
        line = self._lines.get(form)
        if line is None:
            line = self._lines[form] = Line(form)
        ticket = Ticket(request, size, line)
        line.tickets.append(ticket)
        line.requests += 1
        line.rows += request.rows
        self.requests += 1
        self.bytes += size
        return ticket

    def leave(self, ticket: Ticket[R]) -> None:
        """Take a request out of the middle of its line."""
        line = ticket.line
        self._vacate(ticket)
        if not line.requests:
            del self._lines[line.form]
        elif len(line.tickets) > 2 * line.requests + _MANY:
            line.tickets = deque(t for t in line.tickets if t.request is not None)

    def leave_all(self, requests: Iterable[R]) -> None:
        leaving = set(map(id, requests))
        for line in list(self):
            for ticket in [t for t in line.tickets if id(t.request) in leaving]:
                self.leave(ticket)

    def take(self, form: Hashable, room: int, batch: list[R], gone: list[R]) -> int:
        """Move requests from the front of a line to `batch`, and abandoned ones to `gone`.

        Args:
            form: of the line.
            room: for so many rows; the first request of a batch is taken however long it is.
            batch: may hold requests of the same form already.
            gone: nobody waits for these any more.

        Returns:
            The room that is left; nothing once the next request does not fit.
        """
        line = self._lines.get(form)
        if line is None:
            return room
        tickets = line.tickets
        while tickets and room > 0:
            request = tickets[0].request
            if request is not None:
                if request.is_abandoned:
                    gone.append(request)
                else:
                    rows = request.rows
                    if batch and (rows > room or not rows or request.form != batch[0].form):
                        room = 0
                        break
                    batch.append(request)
                    room = room - rows if rows else 0  # one without rows runs alone
                self._vacate(tickets[0])
            tickets.popleft()
        del self._lines[form]
        if line.requests:
            self._lines[form] = line  # behind the other forms
        return room

    def _vacate(self, ticket: Ticket[R]) -> None:
        request, line = ticket.request, ticket.line
        if request is None:
            raise ValueError("the request has left this place already")
        ticket.request = None
        line.requests -= 1
        line.rows -= request.rows
        self.requests -= 1
        self.bytes -= ticket.size
