"""Routes: which handler answers which method, with messages parsed and built around it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from wintergarden.errors import InvalidArgument, Overloaded
from wintergarden.service.transport.call import BidirectionalCall, Call
from wintergarden.wire.pool import Method, methods

Handler = Callable[[Any], None]  # of a Call or a BidirectionalCall, by the kind of route
BatchHandler = Callable[[list[Call]], None]


@dataclass(frozen=True)
class Route:
    """One method.

    Attributes:
        path: /package.Service/Method.
        handler: takes the call and answers it, now or later from any thread. What it raises
            is answered with `call.fail`.
        streams: the answer is a stream.
        is_inline: the handler runs on the dispatch thread, in order of arrival, and must not
            wait for anything. Other unary handlers run on a bounded pool, streams on a thread
            of their own each.
        batch_handler: for inline routes: calls that were waiting together are handed over
            together, in order of arrival, in place of one `handler` call each.
            What it raises is answered to each call of the batch that has no answer yet.
        refusal: asked of each request before it is taken on, on the thread of the transport, so
            that it must be quick and never wait: why it is refused, None for all others. What
            is certain to be refused costs a fraction when it gets no further.
        is_endless: a stream that ends only when its subject does. A draining server tells it
            UNAVAILABLE at once; others have the whole grace to finish.
        is_vital: answered where it arrives, whatever the load and even while draining; for
            health checks, which must not fail because the server is busy.
        is_bidirectional: a stream whose requests are a stream too: the handler takes a
            `BidirectionalCall`.
    """

    path: str
    handler: Handler
    streams: bool = False
    is_inline: bool = False
    batch_handler: BatchHandler | None = None
    refusal: Callable[[bytes], Overloaded | None] | None = None
    is_endless: bool = False
    is_vital: bool = False
    is_bidirectional: bool = False

    def __post_init__(self) -> None:
        if self.streams and self.is_inline:
            raise ValueError(f"{self.path}: a stream waits for its client and cannot be inline")
        if self.batch_handler is not None and not self.is_inline:
            raise ValueError(f"{self.path}: only inline routes take batches")
        if self.is_bidirectional and not self.streams:
            raise ValueError(f"{self.path}: a route cannot stream both ways and not stream")


def unary(
    service: str,
    name: str,
    function: Callable[[Any, Call], Message],
    *,
    is_inline: bool = False,
) -> Route:
    """A route for a function from request message to response message."""
    method = _method(service, name, streams=False)

    def handler(call: Call) -> None:
        call.respond(function(parse(method, call.payload), call).SerializeToString())

    return Route(method.path, handler, is_inline=is_inline)


def server_stream(
    service: str,
    name: str,
    function: Callable[[Any, Call], Generator[Message, None, None]],
    *,
    is_endless: bool = False,
) -> Route:
    """A route for a generator of response messages; it is closed when the client goes."""
    method = _method(service, name, streams=True)

    def handler(call: Call) -> None:
        responses = function(parse(method, call.payload), call)
        with closing(responses):
            for response in responses:
                call.send(response.SerializeToString())
        call.end()

    return Route(method.path, handler, streams=True, is_endless=is_endless)


def bidirectional(service: str, name: str, handler: Callable[[BidirectionalCall], None]) -> Route:
    """A route for a method that streams both ways; the handler parses and builds messages."""
    method = _method(service, name, streams=True, takes_stream=True)
    return Route(method.path, handler, streams=True, is_bidirectional=True)


def parse(method: Method, payload: bytes) -> Any:
    """The request message in the payload of a call.

    Raises:
        InvalidArgument: the bytes are no such message.
    """
    try:
        return method.request.FromString(payload)
    except DecodeError as error:
        expected = method.request.DESCRIPTOR.full_name
        raise InvalidArgument(f"the request's {len(payload)} bytes are not a {expected}") from error


def _method(service: str, name: str, *, streams: bool, takes_stream: bool = False) -> Method:
    method = methods(service)[name]
    if (method.is_client_streaming, method.is_server_streaming) != (takes_stream, streams):
        kind = "bidirectional" if takes_stream else "server-streaming" if streams else "unary"
        raise ValueError(f"{method.path} is not {kind} in the descriptors")
    return method
