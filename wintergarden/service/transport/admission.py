"""Which calls are taken on: the bounds of a server, and what is said beyond them.

Statuses are built once: refusing must cost less than serving.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from wintergarden.errors import Overloaded, TooLarge, Unavailable
from wintergarden.service.errors import Status, status_of
from wintergarden.service.transport.open_call import OpenCall, OpenCalls
from wintergarden.service.transport.options import ServerOptions
from wintergarden.service.transport.route import Route

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.name
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.name
RETRY_AFTER_S = 0.1

DRAINING = status_of(Unavailable("the server is shutting down; try another, or again later"))


class Admission:
    """The calls of one address that have no answer yet, and the bounds they are held to.

    Only one thread may ask `refusal`; calls may leave `calls` and `streams` on any thread.
    Hence no lock: the count is the size of a dict, and the bytes are an upper bound that is
    counted anew when it reaches the limit.
    """

    __slots__ = (
        "_bytes", "_max_bytes", "_max_calls", "_max_request_bytes", "_max_streams",
        "_too_many", "_too_many_bytes", "_too_many_streams",
        "accepted", "calls", "is_draining", "refused", "streams",
    )  # fmt: skip

    def __init__(self, options: ServerOptions, routes: Sequence[Route]) -> None:
        self.calls = OpenCalls()  # unary
        self.streams = OpenCalls()
        self.is_draining = False
        # For metrics; written by the thread that asks `refusal`. Every key is there from the
        # start, so that others may iterate at any time.
        self.accepted = {route.path: 0 for route in routes}
        self.refused = dict.fromkeys((UNAVAILABLE, RESOURCE_EXHAUSTED), 0)
        self._bytes = 0
        self._max_calls = options.max_queued_calls
        self._max_bytes = options.max_queued_bytes
        self._max_request_bytes = options.max_request_bytes
        self._max_streams = options.max_streams
        self._too_many = _overloaded(f"{options.max_queued_calls} calls are waiting already")
        self._too_many_bytes = _overloaded(
            f"calls of {options.max_queued_bytes} bytes in all are waiting already"
        )
        self._too_many_streams = _overloaded(f"{options.max_streams} streams are open already")

    def refusal(self, route: Route, payload: bytes = b"") -> Status | None:
        """Why a call is not taken on; None when it is.

        Args:
            route: of its method.
            payload: its request; of what streams requests, none.

        The caller adds the call to `calls` or `streams`.
        """
        if route.is_vital:
            return None
        status = self._refusal(route, payload)
        if status is not None:
            self.refused[status.code.name] += 1
        return status

    def _refusal(self, route: Route, payload: bytes) -> Status | None:
        if self.is_draining:
            return DRAINING
        size = len(payload)
        if size > self._max_request_bytes:
            message = f"the request has {size} bytes; {self._max_request_bytes} are allowed"
            return status_of(TooLarge(message))
        if route.streams:
            return self._too_many_streams if len(self.streams) >= self._max_streams else None
        if len(self.calls) >= self._max_calls:
            return self._too_many
        if route.refusal is not None and (error := route.refusal(payload)) is not None:
            return status_of(error, route.path)
        if self._bytes + size > self._max_bytes:
            self._bytes = sum(len(call.payload) for call in self.calls.copy().values())
            if self._bytes + size > self._max_bytes:
                return self._too_many_bytes
        self._bytes += size
        return None

    def is_empty(self) -> bool:
        return not self.calls and not self.streams

    def unanswered(self) -> list[OpenCall]:
        # dict.copy() is atomic; iterating while other threads remove is not.
        return [*self.calls.copy().values(), *self.streams.copy().values()]


def _overloaded(message: str) -> Status:
    return status_of(Overloaded(message, retry_after_s=RETRY_AFTER_S))
