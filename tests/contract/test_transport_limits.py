"""Too much, too long, and the end: what servers refuse, and that they lose nothing else."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import grpc
import pytest

from wintergarden.errors import Overloaded
from wintergarden.service.testing import UNLIMITED, details_of, running
from wintergarden.service.transport import Call, Route, ServerOptions

MIB = 1024 * 1024


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


class Gate:
    """A handler that answers only once it is opened."""

    def __init__(self) -> None:
        self.held: list[Call] = []
        self._lock = threading.Lock()
        self._is_open = False

    def __call__(self, call: Call) -> None:
        with self._lock:
            if not self._is_open:
                self.held.append(call)
                return
        call.respond(call.payload)

    def open(self) -> None:
        with self._lock:
            self._is_open = True
        for call in self.held:
            call.respond(call.payload)


def wait_for(gate: Gate, count: int) -> None:
    until = time.monotonic() + 5
    while len(gate.held) < count:
        assert time.monotonic() < until, f"{len(gate.held)} of {count} calls arrived"
        time.sleep(0.005)


@pytest.mark.parametrize("bound", ["count", "bytes"])
def test_beyond_the_bounds_calls_are_refused_at_once_and_others_kept(
    transport: Any, bound: str
) -> None:
    limits = {
        "count": {"max_queued_calls": 8},
        "bytes": {"max_queued_bytes": 8000, "max_request_bytes": 4000},
    }[bound]
    gate = Gate()
    route = Route("/t.T/Call", gate, is_inline=True)
    with running([route], ServerOptions(transport=transport, linger_s=0.01, **limits)) as (
        _,
        channel,
    ):
        method = channel.unary_unary("/t.T/Call")
        held = [method.future(bytes(1000), timeout=20) for _ in range(8)]
        wait_for(gate, 8)
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            method(bytes(1000), timeout=5)
        assert time.monotonic() - started < 1
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        details = details_of(caught.value)
        assert details["ErrorInfo"].reason == "OVERLOADED"
        assert details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        gate.open()
        assert [f.result() for f in held] == [bytes(1000)] * 8
        assert method(bytes(1000), timeout=5) == bytes(1000)


def test_what_a_route_refuses_is_never_handled(transport: Any) -> None:
    handled, full = [], Overloaded("no place", retry_after_s=2)

    def handler(call: Call) -> None:
        handled.append(call.payload)
        call.respond(call.payload)

    route = Route(
        "/t.T/Call",
        handler,
        is_inline=True,
        refusal=lambda payload: full if payload.startswith(b"x") else None,
    )
    with running([route], ServerOptions(transport=transport, linger_s=0.01)) as (server, channel):
        method = channel.unary_unary("/t.T/Call")
        assert method(b"a", timeout=5) == b"a"
        with pytest.raises(grpc.RpcError) as caught:
            method(b"x", timeout=5)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == "no place"
        details = details_of(caught.value)
        assert details["ErrorInfo"].reason == "OVERLOADED"
        assert details["RetryInfo"].retry_delay.ToSeconds() == 2
        assert method(b"b", timeout=5) == b"b"
        assert sum(a.refused["RESOURCE_EXHAUSTED"] for a in server.admissions) == 1
    assert handled == [b"a", b"b"]


def test_room_is_made_by_cancelled_calls(transport: Any) -> None:
    gate = Gate()
    options = ServerOptions(transport=transport, linger_s=0.01, max_queued_calls=4)
    with running([Route("/t.T/Call", gate, is_inline=True)], options) as (_, channel):
        method = channel.unary_unary("/t.T/Call")
        held = [method.future(b"x") for _ in range(4)]
        wait_for(gate, 4)
        for future in held:
            future.cancel()
        time.sleep(0.2)
        gate.open()
        assert method(b"y", timeout=5) == b"y"


def test_streams_have_a_bound_of_their_own(transport: Any) -> None:
    release = threading.Event()

    def hold(call: Call) -> None:
        call.send(b"")
        release.wait(10)
        call.end()

    routes = [
        Route("/t.T/Stream", hold, streams=True),
        Route("/t.T/Call", lambda c: c.respond(b"")),
    ]
    options = ServerOptions(transport=transport, linger_s=0.01, max_streams=2)
    with running(routes, options) as (_, channel):
        streams = [channel.unary_stream("/t.T/Stream")(b"", timeout=20) for _ in range(2)]
        for stream in streams:
            next(stream)
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.unary_stream("/t.T/Stream")(b"", timeout=5))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert channel.unary_unary("/t.T/Call")(b"", timeout=5) == b""
        release.set()
        assert [list(s) for s in streams] == [[], []]


def test_a_long_request_is_refused_and_never_handled(transport: Any) -> None:
    handled = []

    def handler(call: Call) -> None:
        handled.append(len(call.payload))
        call.respond(b"")

    options = ServerOptions(transport=transport, linger_s=0.01, max_request_bytes=MIB)
    with running([Route("/t.T/Call", handler)], options) as (_, channel):
        method = channel.unary_unary("/t.T/Call")
        with pytest.raises(grpc.RpcError) as caught:
            method(bytes(MIB + 1), timeout=5)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(MIB) in caught.value.details()
        assert method(bytes(MIB), timeout=5) == b""
    assert handled == [MIB]


def test_health_answers_under_overload(transport: Any) -> None:
    from grpc_health.v1 import health_pb2

    gate = Gate()
    options = ServerOptions(transport=transport, linger_s=0.01, max_queued_calls=1)
    with running([Route("/t.T/Call", gate, is_inline=True)], options) as (_, channel):
        future = channel.unary_unary("/t.T/Call").future(b"")
        wait_for(gate, 1)
        answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
        assert health_pb2.HealthCheckResponse.FromString(answer).status == 1
        gate.open()
        future.result(timeout=5)


@pytest.mark.parametrize("kind", ["inline", "worker"])
def test_drain_under_load_loses_no_answer(transport: Any, kind: str) -> None:
    """Clients on several connections never stop; each call is answered or told UNAVAILABLE."""
    accepted: Counter[bytes] = Counter()

    def handler(call: Call) -> None:
        accepted[call.payload] += 1
        threading.Timer(0.02, call.respond, (call.payload,)).start()

    route = Route("/t.T/Call", handler, is_inline=kind == "inline")
    options = ServerOptions(transport=transport, linger_s=0.2)
    answered: Counter[bytes] = Counter()
    outcomes: Counter[Any] = Counter()
    with running([route], options) as (server, _):
        target = f"127.0.0.1:{server.ports[0]}"
        stop = threading.Event()

        def client(number: int) -> None:
            with grpc.insecure_channel(target, [*UNLIMITED, ("client", number)]) as channel:
                method = channel.unary_unary("/t.T/Call")
                k = 0
                while not stop.is_set():
                    k += 1
                    payload = b"%d/%d" % (number, k)
                    try:
                        assert method(payload, timeout=10) == payload
                        answered[payload] += 1
                        outcomes["ok"] += 1
                    except grpc.RpcError as error:
                        outcomes[error.code()] += 1
                        if "connect" in (error.details() or ""):
                            return

        clients = [threading.Thread(target=client, args=(i,)) for i in range(16)]
        for thread in clients:
            thread.start()
        time.sleep(0.7)
        server.stop(10)
        stop.set()
        for thread in clients:
            thread.join()
    assert outcomes["ok"] > 50
    told = {"ok", grpc.StatusCode.UNAVAILABLE}
    if transport == "grpcio":  # its core drops calls that it has read and not handed over so
        told.add(grpc.StatusCode.CANCELLED)
    assert set(outcomes) <= told
    assert answered == accepted


def test_drain_order(transport: Any) -> None:
    from grpc_health.v1 import health_pb2

    gate = Gate()
    options = ServerOptions(transport=transport, linger_s=0.3)
    with running([Route("/t.T/Call", gate, is_inline=True)], options) as (server, channel):
        method = channel.unary_unary("/t.T/Call")
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        inflight = method.future(b"accepted")
        wait_for(gate, 1)
        stopping = threading.Thread(target=server.stop, args=(10,))
        stopping.start()
        time.sleep(0.1)
        assert health_pb2.HealthCheckResponse.FromString(check(b"", timeout=5)).status == 2
        with pytest.raises(grpc.RpcError) as caught:
            method(b"new", timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in caught.value.details()
        assert stopping.is_alive()
        gate.open()
        assert inflight.result(timeout=5) == b"accepted"
        stopping.join(5)
        server.wait()
        assert not stopping.is_alive()


def test_what_the_grace_does_not_suffice_for_is_told(transport: Any) -> None:
    gate, cancelled = Gate(), threading.Event()

    def hold(call: Call) -> None:
        call.on_cancel(cancelled.set)
        gate(call)

    options = ServerOptions(transport=transport, linger_s=0.05)
    with running([Route("/t.T/Call", hold, is_inline=True)], options) as (server, channel):
        future = channel.unary_unary("/t.T/Call").future(b"")
        wait_for(gate, 1)
        server.stop(0.2)
        error = future.exception(timeout=5)
        assert isinstance(error, grpc.RpcError)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert cancelled.is_set()


def test_endless_streams_do_not_hold_up_the_drain(transport: Any) -> None:
    def watch(call: Call) -> None:
        call.send(b"first")
        while not call.is_cancelled:
            time.sleep(0.01)

    options = ServerOptions(transport=transport, linger_s=0.05)
    route = Route("/t.T/Watch", watch, streams=True, is_endless=True)
    with running([route], options) as (server, channel):
        stream = channel.unary_stream("/t.T/Watch")(b"", timeout=30)
        next(stream)
        started = time.monotonic()
        server.stop(10)
        assert time.monotonic() - started < 5
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_stop_twice_and_from_two_threads(transport: Any) -> None:
    with running([], ServerOptions(transport=transport, linger_s=0.05)) as (server, _):
        other = threading.Thread(target=server.stop, args=(1,))
        other.start()
        server.stop(1)
        other.join(5)
        assert not other.is_alive()
