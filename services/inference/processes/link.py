"""Calls to another process of the same server, over its Unix socket: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from wintergarden.errors import Cancelled, Unavailable
from wintergarden.service.errors import Status, StatusError

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # A process that is started again is found again quickly.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class Link:
    """A channel to one process; any thread may call."""

    def __init__(self, name: str, socket: str) -> None:
        """`name` is what messages call the other side."""
        self._name = name
        self._channel = grpc.insecure_channel(f"unix:{socket}", _OPTIONS)
        self._methods: dict[str, Any] = {}

    def call(self, path: str, payload: bytes = b"", timeout_s: float | None = None) -> bytes:
        """The answer.

        Raises:
            StatusError: what the other side answered instead.
            Unavailable: it does not answer.
        """
        try:
            return bytes(self._method(path)(payload, timeout=timeout_s))
        except grpc.RpcError as error:
            raise self._error(error) from error
        except ValueError as error:  # the channel has been closed meanwhile
            raise Unavailable(f"{self._name} has ended") from error

    def start(
        self,
        path: str,
        payload: bytes,
        timeout_s: float | None,
        done: Callable[[bytes | Exception], None],
    ) -> Callable[[], object]:
        """Call `done` with the answer, or with what `call` would raise; returns what cancels."""

        def tell(future: Any) -> None:
            try:
                answer = future.result()
            except grpc.RpcError as error:
                answer = self._error(error)
            except grpc.FutureCancelledError:
                answer = Cancelled("nobody waits for the answer any more")
            done(answer)

        future = self._method(path).future(payload, timeout=timeout_s)
        future.add_done_callback(tell)
        return future.cancel  # type: ignore[no-any-return]

    def close(self) -> None:
        self._channel.close()

    def _method(self, path: str) -> Any:
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = self._channel.unary_unary(path)
        return method

    def _error(self, error: Any) -> StatusError | Unavailable:
        trailing = tuple(error.trailing_metadata() or ())
        if error.code() is grpc.StatusCode.UNAVAILABLE and not trailing:
            return Unavailable(f"{self._name} does not answer")
        return StatusError(Status(error.code(), error.details() or "", trailing))
