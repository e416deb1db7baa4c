"""The raw-bytes client between two real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from gateway.upstream import Retry, Upstream
from wintergarden.errors import InvalidArgument, Unavailable
from wintergarden.service.transport import Call, Route, Server, create_server
from wintergarden.wire import explanation_pb2 as pb

SERVICE = "wintergarden.v1.ExplanationService"
EXPLAIN = f"/{SERVICE}/Explain"


class Backend:
    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.deadline_s: float | None = None
        self.metadata: dict[str, str | bytes] = {}
        self.failures = 0

    def __call__(self, call: Call) -> None:
        self.deadline_s = call.time_remaining_s
        self.metadata = dict(call.metadata)
        if call.payload == b"hang":
            call.on_cancel(self.cancelled.set)
            return
        if call.payload == b"bad":
            raise InvalidArgument("epsilon is NaN", field="epsilon")
        if call.payload == b"flaky" and self.failures < 2:
            self.failures += 1
            raise Unavailable("not yet")
        call.send_initial_metadata([("x-first", "1")])
        call.respond(call.payload, [("x-last", "2")])


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def gateway(backend: Backend) -> Iterator[Server]:
    behind = create_server([Route(EXPLAIN, backend)], ["127.0.0.1:0"])
    behind.start()
    upstream = Upstream("explanation", f"127.0.0.1:{behind.ports[0]}", retry=Retry(4, 0.01))
    upstream.start()
    front = create_server(upstream.routes(SERVICE), ["127.0.0.1:0"])
    front.start()
    yield front
    front.stop(1.0)
    upstream.stop()
    behind.stop(1.0)


@pytest.fixture
def explain(gateway: Server) -> Iterator[grpc.UnaryUnaryMultiCallable]:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.ports[0]}") as channel:
        yield channel.unary_unary(EXPLAIN)


def test_bytes_and_metadata_pass_both_ways(
    explain: grpc.UnaryUnaryMultiCallable, backend: Backend
) -> None:
    answer, call = explain.with_call(b"anything at all", metadata=[("x-mine", "7")], timeout=10)
    assert answer == b"anything at all"
    assert ("x-first", "1") in call.initial_metadata()
    assert ("x-last", "2") in call.trailing_metadata()
    assert backend.metadata["x-mine"] == "7"


def test_the_deadline_passes_on(explain: grpc.UnaryUnaryMultiCallable, backend: Backend) -> None:
    explain(b"x", timeout=7)
    assert backend.deadline_s is not None
    assert 3 < backend.deadline_s < 7.1  # three digits on the wire, rounded up


def test_a_passed_deadline_ends_the_call_and_the_work(
    explain: grpc.UnaryUnaryMultiCallable, backend: Backend
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        explain(b"hang", timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert backend.cancelled.wait(30)


def test_cancellation_passes_on(explain: grpc.UnaryUnaryMultiCallable, backend: Backend) -> None:
    future = explain.future(b"hang", timeout=60)
    until = time.monotonic() + 5
    while backend.deadline_s is None and time.monotonic() < until:
        time.sleep(0.01)
    future.cancel()
    assert backend.cancelled.wait(30)


def test_status_and_details_pass_on(explain: grpc.UnaryUnaryMultiCallable) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        explain(b"bad", timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "epsilon is NaN"
    details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    assert b"epsilon" in details


def test_unavailable_is_tried_again(
    explain: grpc.UnaryUnaryMultiCallable, backend: Backend
) -> None:
    assert explain(b"flaky", timeout=10) == b"flaky"
    assert backend.failures == 2


def test_nobody_there_is_said() -> None:
    upstream = Upstream("explanation", "127.0.0.1:1", retry=Retry(2, 0.01))
    upstream.start()
    front = create_server(upstream.routes(SERVICE), ["127.0.0.1:0"])
    front.start()
    try:
        with (
            grpc.insecure_channel(f"127.0.0.1:{front.ports[0]}") as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            channel.unary_unary(EXPLAIN)(pb.ExplainRequest().SerializeToString(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "explanation service at 127.0.0.1:1 does not answer" in caught.value.details()
    finally:
        front.stop(1.0)
        upstream.stop()
