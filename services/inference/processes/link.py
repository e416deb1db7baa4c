"""Calls to another process of the same server, over its Unix socket: bytes in, bytes out."""

from __future__ import annotations

from typing import Any

import grpc

from wintergarden.errors import Unavailable
from wintergarden.service.errors import Status, StatusError

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
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
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = self._channel.unary_unary(path)
        try:
            return bytes(method(payload, timeout=timeout_s))
        except grpc.RpcError as error:
            trailing = tuple(error.trailing_metadata() or ())
            if error.code() is grpc.StatusCode.UNAVAILABLE and not trailing:
                raise Unavailable(f"{self._name} does not answer") from error
            status = Status(error.code(), error.details() or "", trailing)
            raise StatusError(status) from error

    def close(self) -> None:
        self._channel.close()
