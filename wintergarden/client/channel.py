"""What both clients do the same way with a gRPC channel, blocking or asynchronous."""

from __future__ import annotations

import ipaddress
from typing import Any

from wintergarden.wire.pool import Method

DEFAULT_ADDRESS = "127.0.0.1:8500"

_OPTIONS = (
    # A model's input has the size it has; the server says what it refuses.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that was restarted is found again at once, not after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A connection of our own: channels with equal arguments otherwise share one, and its fate.
    ("grpc.use_local_subchannel_pool", 1),
)


def options_for(address: str) -> tuple[tuple[str, int], ...]:
    """A channel's options; to this machine it goes straight, whatever proxy the environment has."""
    return (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if _is_loopback(address) else _OPTIONS


class Stubs:
    """Callables by method, made once.

    Args:
        channel: a grpc.Channel or a grpc.aio.Channel.
        api_key: sent as a bearer token when given.
    """

    def __init__(self, channel: Any, api_key: str = "") -> None:
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._stubs: dict[str, Any] = {}

    def __getitem__(self, method: Method) -> Any:
        stub = self._stubs.get(method.path)
        if stub is None:
            make = getattr(
                self.channel,
                f"{_kind(method.is_client_streaming)}_{_kind(method.is_server_streaming)}",
            )
            stub = self._stubs[method.path] = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return stub


def _kind(is_streaming: bool) -> str:
    return "stream" if is_streaming else "unary"


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
