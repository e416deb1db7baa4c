"""One call as every transport presents it to a handler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic

from wintergarden.service.errors import Metadata


class Call(ABC):
    """A request and the one chance to answer it, from any thread.

    A unary call is answered by `respond` or `fail`; a server-streaming call by any number of
    `send`, then `end` or `fail`. Whatever comes after the answer, or after the client has gone,
    is ignored, except that `send` raises `Cancelled` so that a generator stops.
    """

    __slots__ = ("deadline", "metadata", "method", "payload", "peer")

    method: str  # the path, /package.Service/Method
    payload: bytes
    metadata: tuple[tuple[str, str | bytes], ...]  # bytes for keys that end in -bin
    peer: str
    deadline: float | None  # on time.monotonic()'s clock

    @property
    def is_cancelled(self) -> bool:
        """The client has gone or its deadline has passed: work on this call is wasted."""
        return self.is_gone or (self.deadline is not None and monotonic() >= self.deadline)

    @property
    def time_remaining_s(self) -> float | None:
        """Seconds until the deadline, never negative; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - monotonic())

    @property
    @abstractmethod
    def is_gone(self) -> bool:
        """The client has cancelled or disconnected, or the transport has timed the call out."""

    @abstractmethod
    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Run `callback` once when the client goes; at once if it has gone. It must not block."""

    @abstractmethod
    def send_initial_metadata(self, metadata: Metadata) -> None:
        """Headers of the answer; before the first `respond`, `send` or `end`, at most once."""

    @abstractmethod
    def respond(self, payload: bytes, trailing_metadata: Metadata = ()) -> None:
        """Answer a unary call."""

    @abstractmethod
    def send(self, payload: bytes) -> None:
        """Send one message of a stream; waits while the client reads too slowly.

        Raises:
            Cancelled: the client has gone.
        """

    @abstractmethod
    def end(self, trailing_metadata: Metadata = ()) -> None:
        """End a stream well."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """End the call with the status of `wintergarden.service.errors` for `error`."""
