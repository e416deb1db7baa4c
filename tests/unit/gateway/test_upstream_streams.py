"""Streams handed on between two real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from gateway.upstream import Retry, Upstream
from wintergarden.errors import Cancelled, NotFound, Unavailable
from wintergarden.service.testing import details_of
from wintergarden.service.transport import Call, Route, ServerOptions, create_server

# The one streaming method there is; any will do.
SERVICE = "wintergarden.v1.TrainingService"
WATCH = f"/{SERVICE}/WatchJob"


class Backend:
    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.deadline_s: float | None = None
        self.attempts = 0

    def __call__(self, call: Call) -> None:
        self.deadline_s = call.time_remaining_s
        self.attempts += 1
        if call.payload == b"flaky" and self.attempts < 3:
            raise Unavailable("not yet")
        call.send_initial_metadata([("x-first", "1")])
        if call.payload == b"endless":
            try:
                while True:
                    call.send(b"more")
                    time.sleep(0.005)
            except Cancelled:
                self.stopped.set()
                raise
        call.send(b"one")
        if call.payload == b"breaks":
            raise Unavailable("in the middle")
        if call.payload == b"fails":
            raise NotFound("no more")
        call.send(dict(call.metadata).get("x-mine", "two").encode())  # type: ignore[union-attr]
        call.end([("x-last", "2")])


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture(params=["native", "grpcio"])
def watch(
    backend: Backend, request: pytest.FixtureRequest
) -> Iterator[grpc.UnaryStreamMultiCallable]:
    options = ServerOptions(transport=request.param, linger_s=0.01)
    behind = create_server([Route(WATCH, backend, streams=True)], ["127.0.0.1:0"], options)
    behind.start()
    upstream = Upstream("training", behind.addresses[0], retry=Retry(4, 0.01))
    upstream.start()
    front = create_server(upstream.routes(SERVICE), ["127.0.0.1:0"], options)
    front.start()
    with grpc.insecure_channel(front.addresses[0]) as channel:
        yield channel.unary_stream(WATCH)
    front.stop(1)
    upstream.stop()
    behind.stop(1)


def test_messages_metadata_and_deadline(
    watch: grpc.UnaryStreamMultiCallable, backend: Backend
) -> None:
    stream = watch(b"", metadata=[("x-mine", "7")], timeout=10)
    assert list(stream) == [b"one", b"7"]
    assert ("x-first", "1") in [tuple(m) for m in stream.initial_metadata()]
    assert ("x-last", "2") in [tuple(m) for m in stream.trailing_metadata()]
    assert backend.deadline_s is not None
    # On the wire gRPC rounds a timeout up to three digits: 10.1 s is right too.
    assert 0 < backend.deadline_s < 10.2


def test_a_status_after_messages(watch: grpc.UnaryStreamMultiCallable) -> None:
    stream = watch(b"fails", timeout=10)
    assert next(stream) == b"one"
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.NOT_FOUND,
        "no more",
    )
    assert details_of(caught.value)["ErrorInfo"].reason == "NOT_FOUND"


def test_tried_again_only_before_the_first_message(
    watch: grpc.UnaryStreamMultiCallable, backend: Backend
) -> None:
    assert list(watch(b"flaky", timeout=10)) == [b"one", b"two"]
    backend.attempts = 0
    stream = watch(b"breaks", timeout=10)
    assert next(stream) == b"one"
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.details() == "in the middle"
    assert backend.attempts == 1


def test_cancellation_reaches_the_generator(
    watch: grpc.UnaryStreamMultiCallable, backend: Backend
) -> None:
    stream = watch(b"endless", timeout=20)
    next(stream)
    stream.cancel()
    assert backend.stopped.wait(30)
