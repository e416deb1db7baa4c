"""One call as every transport presents it to a handler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from time import monotonic

from wintergarden.service.errors import Metadata


class CallContext(ABC):
    """What calls of every kind have. Whatever comes after the answer is ignored."""

    __slots__ = ()

    method: str  # the path, /package.Service/Method
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
    def end(self, trailing_metadata: Metadata = ()) -> None:
        """End a stream well, after what was sent."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """End the call with the status of `wintergarden.service.errors` for `error`."""


class Call(CallContext):
    """A request and the one chance to answer it, from any thread.

    A unary call is answered by `respond` or `fail`; a server-streaming call by any number of
    `send`, then `end` or `fail`. Whatever comes after the answer, or after the client has gone,
    is ignored, except that `send` raises `Cancelled` so that a generator stops.
    """

    __slots__ = ()

    payload: bytes

    @abstractmethod
    def respond(self, payload: bytes, trailing_metadata: Metadata = ()) -> None:
        """Answer a unary call."""

    @abstractmethod
    def send(self, payload: bytes) -> None:
        """Send one message of a stream; waits while the client reads too slowly.

        Raises:
            Cancelled: the client has gone.
        """


class BidirectionalCall(CallContext):
    """A stream of requests and a stream of answers, side by side.

    Its handler has a thread of its own, on which it reads `messages`; answers are sent from any
    thread, also after the handler has returned. The call ends with `end` or `fail`, whoever
    says so first, and with the client. A peer that reached the native transport is unknown.
    """

    __slots__ = ()

    @abstractmethod
    def messages(self) -> Iterator[bytes]:
        """The client's messages, as they come; for one thread.

        Waits for the next, also as long as too much of what was sent is unread, so that a
        client that does not read is not served for ever. Ends when the client has said its
        last, has gone, or the call has its end; and when the server drains: then what was
        handed out is still to be answered, and `end` tells the client UNAVAILABLE.
        """

    @abstractmethod
    def send(self, payload: bytes) -> None:
        """Send one message, after those before it; never waits, ignored once nobody reads."""

    @property
    @abstractmethod
    def is_clogged(self) -> bool:
        """As many bytes as may be sent are unread: who goes on sending fills the memory."""

    @abstractmethod
    def wait_writable(self) -> None:
        """Wait until the client has read enough; for handlers with many answers to a message.

        Raises:
            Cancelled: the client has gone, or the call has its end.
        """
