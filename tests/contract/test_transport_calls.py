"""One call at a time: the same suite on both transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from wintergarden.errors import Cancelled, InvalidArgument, NotFound, Overloaded
from wintergarden.service.errors import Status, StatusError
from wintergarden.service.testing import details_of, running
from wintergarden.service.transport import Call, Route, ServerOptions

MIB = 1024 * 1024


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def serve(transport: Any) -> Iterator[Callable[..., grpc.Channel]]:
    """Starts a server with the routes given; returns a channel to it."""
    contexts = []

    def start(*routes: Route, **options: Any) -> grpc.Channel:
        context = running(routes, ServerOptions(transport=transport, linger_s=0.01, **options))
        _, channel = context.__enter__()
        contexts.append(context)
        return channel

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def echo(call: Call) -> None:
    call.respond(call.payload)


UNARY_KINDS = {
    "inline": lambda handler: Route("/t.T/Call", handler, is_inline=True),
    "worker": lambda handler: Route("/t.T/Call", handler),
    "batch": lambda handler: Route(
        "/t.T/Call",
        handler,
        is_inline=True,
        batch_handler=lambda calls: [handler(c) for c in calls],
    ),
}
KINDS = {**UNARY_KINDS, "stream": lambda handler: Route("/t.T/Call", handler, streams=True)}


def ask(channel: grpc.Channel, payload: bytes = b"x", **arguments: Any) -> bytes:
    return channel.unary_unary("/t.T/Call")(payload, timeout=10, **arguments)


def failure(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("kind", UNARY_KINDS)
@pytest.mark.parametrize("payload", [b"", b"hello", bytes(20 * MIB)], ids=["empty", "small", "big"])
def test_unary_answers(serve: Any, kind: str, payload: bytes) -> None:
    assert ask(serve(UNARY_KINDS[kind](echo)), payload) == payload


def test_answer_from_another_thread_later(serve: Any) -> None:
    def later(call: Call) -> None:
        threading.Timer(0.05, call.respond, (b"later",)).start()

    assert ask(serve(Route("/t.T/Call", later, is_inline=True))) == b"later"


def test_only_the_first_answer_counts(serve: Any) -> None:
    def twice(call: Call) -> None:
        call.respond(b"first")
        call.respond(b"second")
        call.fail(NotFound("third"))

    assert ask(serve(Route("/t.T/Call", twice))) == b"first"


def test_stream_in_order_and_whole(serve: Any) -> None:
    def count(call: Call) -> None:
        for i in range(1000):
            call.send(b"%d" % i)
        call.end()

    channel = serve(Route("/t.T/Call", count, streams=True))
    messages = list(channel.unary_stream("/t.T/Call")(b"", timeout=10))
    assert messages == [b"%d" % i for i in range(1000)]


def test_slow_reader_holds_the_stream_back(serve: Any) -> None:
    sent = []

    def flood(call: Call) -> None:
        for i in range(64):
            call.send(bytes(MIB))
            sent.append(i)
        call.end()

    channel = serve(Route("/t.T/Call", flood, streams=True))
    stream = channel.unary_stream("/t.T/Call")(b"", timeout=20)
    next(stream)
    time.sleep(0.5)
    assert len(sent) < 48, "the server buffered the stream instead of waiting for its reader"
    assert sum(1 for _ in stream) == 63


def test_metadata_both_ways(serve: Any) -> None:
    seen: dict[str, Any] = {}

    def handler(call: Call) -> None:
        seen.update(call.metadata)
        call.send_initial_metadata((("first", "1"), ("first-bin", b"\xff\x00")))
        call.respond(b"", (("last", "2"), ("last-bin", b"\x01")))

    channel = serve(Route("/t.T/Call", handler, is_inline=True))
    _, call = channel.unary_unary("/t.T/Call").with_call(
        b"", timeout=5, metadata=(("key", "value"), ("key-bin", b"\x00\xfe"))
    )
    assert seen["key"] == "value"
    assert seen["key-bin"] == b"\x00\xfe"
    assert {"first": "1", "first-bin": b"\xff\x00"}.items() <= dict(call.initial_metadata()).items()
    assert {"last": "2", "last-bin": b"\x01"}.items() <= dict(call.trailing_metadata()).items()


def test_metadata_of_a_stream(serve: Any) -> None:
    def handler(call: Call) -> None:
        call.send_initial_metadata((("first", "1"),))
        call.send(b"m")
        call.end((("last", "2"),))

    stream = serve(Route("/t.T/Call", handler, streams=True)).unary_stream("/t.T/Call")(
        b"", timeout=5
    )
    assert list(stream) == [b"m"]
    assert ("first", "1") in [tuple(m) for m in stream.initial_metadata()]
    assert ("last", "2") in [tuple(m) for m in stream.trailing_metadata()]


@pytest.mark.parametrize("kind", KINDS)
def test_known_errors_carry_status_and_details(serve: Any, kind: str) -> None:
    def handler(call: Call) -> None:
        raise InvalidArgument("epochs: got 0, allowed 1 to 100", "hyperparameters.epochs")

    channel = serve(KINDS[kind](handler))
    error = failure(lambda: _consume(channel, kind))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "epochs: got 0, allowed 1 to 100"
    details = details_of(error)
    assert details["ErrorInfo"].reason == "INVALID_ARGUMENT"
    assert details["ErrorInfo"].domain == "wintergarden"
    assert details["BadRequest"].field_violations[0].field == "hyperparameters.epochs"


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_errors_tell_a_trace_and_nothing_else(
    serve: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(call: Call) -> None:
        raise ZeroDivisionError("the password is swordfish")

    channel = serve(KINDS[kind](handler))
    error = failure(lambda: _consume(channel, kind))
    assert error.code() == grpc.StatusCode.INTERNAL
    trace = details_of(error)["ErrorInfo"].metadata["trace"]
    assert error.details() == f"internal error (trace {trace})"
    assert "swordfish" not in str(error.trailing_metadata())
    assert trace in capsys.readouterr().out
    # One failure harms nobody else.
    assert failure(lambda: _consume(channel, kind)).code() == grpc.StatusCode.INTERNAL


def _consume(channel: grpc.Channel, kind: str) -> None:
    if kind == "stream":
        list(channel.unary_stream("/t.T/Call")(b"", timeout=5))
    else:
        ask(channel)


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_cannot_end_the_threads_that_serve(serve: Any, kind: str) -> None:
    def handler(call: Call) -> None:
        raise SystemExit(3)

    channel = serve(KINDS[kind](handler), workers=1, max_streams=1)
    for _ in range(3):
        assert failure(lambda: _consume(channel, kind)).code() == grpc.StatusCode.INTERNAL


def test_failure_after_messages_of_a_stream(serve: Any) -> None:
    def handler(call: Call) -> None:
        call.send(b"1")
        raise NotFound("no more")

    stream = serve(Route("/t.T/Call", handler, streams=True)).unary_stream("/t.T/Call")(
        b"", timeout=5
    )
    assert next(stream) == b"1"
    assert failure(lambda: next(stream)).code() == grpc.StatusCode.NOT_FOUND


def test_retry_info(serve: Any) -> None:
    def handler(call: Call) -> None:
        raise Overloaded("full", retry_after_s=1.5)

    error = failure(lambda: ask(serve(Route("/t.T/Call", handler))))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() == 1500


def test_decided_status_is_passed_on_as_it_is(serve: Any) -> None:
    status = Status(
        grpc.StatusCode.ABORTED, "as it «is»", (("why", "so"), ("raw-bin", b"\x00\xff"))
    )

    def handler(call: Call) -> None:
        raise StatusError(status)

    error = failure(lambda: ask(serve(Route("/t.T/Call", handler))))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "as it «is»")
    assert {"why": "so", "raw-bin": b"\x00\xff"}.items() <= dict(error.trailing_metadata()).items()


def test_a_long_message_still_arrives(serve: Any) -> None:
    def handler(call: Call) -> None:
        raise NotFound("é" * 100_000)

    error = failure(lambda: ask(serve(Route("/t.T/Call", handler))))
    assert error.code() == grpc.StatusCode.NOT_FOUND


def test_unknown_method(serve: Any) -> None:
    channel = serve(Route("/t.T/Call", echo))
    error = failure(lambda: channel.unary_unary("/t.T/Other")(b"", timeout=5))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_deadline_reaches_the_handler_and_ends_the_call(serve: Any) -> None:
    remaining: list[float | None] = []
    cancelled = threading.Event()

    def hang(call: Call) -> None:
        remaining.append(call.time_remaining_s)
        call.on_cancel(cancelled.set)

    channel = serve(Route("/t.T/Call", hang, is_inline=True))
    error = failure(lambda: channel.unary_unary("/t.T/Call")(b"", timeout=0.4))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert cancelled.wait(30)
    assert remaining[0] is not None
    assert 0 < remaining[0] <= 0.41


def test_no_deadline(serve: Any) -> None:
    seen = []

    def handler(call: Call) -> None:
        seen.append((call.deadline, call.time_remaining_s, call.is_cancelled))
        call.respond(b"")

    serve(Route("/t.T/Call", handler)).unary_unary("/t.T/Call")(b"")
    assert seen == [(None, None, False)]


@pytest.mark.parametrize("kind", UNARY_KINDS)
def test_cancelled_while_it_waits_and_never_run(serve: Any, kind: str) -> None:
    release, ran = threading.Event(), []

    def handler(call: Call) -> None:
        ran.append(call.payload)
        if call.payload == b"block":
            release.wait(10)
        call.respond(b"")

    channel = serve(UNARY_KINDS[kind](handler), workers=1)
    method = channel.unary_unary("/t.T/Call")
    blocking = method.future(b"block")
    _until(lambda: ran == [b"block"])
    cancelled, late = method.future(b"cancelled"), method.future(b"late", timeout=0.2)
    time.sleep(0.1)
    cancelled.cancel()
    assert isinstance(late.exception(), grpc.RpcError)
    time.sleep(0.1)
    release.set()
    blocking.result(timeout=5)
    assert ask(channel, b"next") == b""
    assert ran == [b"block", b"next"]


def test_cancelled_stream_stops_its_generator(serve: Any) -> None:
    stopped = threading.Event()

    def handler(call: Call) -> None:
        try:
            while True:
                call.send(bytes(1000))
                time.sleep(0.001)
        except Cancelled:
            stopped.set()
            raise

    channel = serve(Route("/t.T/Call", handler, streams=True))
    stream = channel.unary_stream("/t.T/Call")(b"", timeout=30)
    next(stream)
    stream.cancel()
    assert stopped.wait(30)


def test_a_stream_blocked_on_a_slow_reader_ends_when_the_client_goes(serve: Any) -> None:
    stopped = threading.Event()

    def handler(call: Call) -> None:
        try:
            while True:
                call.send(bytes(MIB))
        except Cancelled:
            stopped.set()

    channel = serve(Route("/t.T/Call", handler, streams=True))
    stream = channel.unary_stream("/t.T/Call")(b"", timeout=30)
    next(stream)
    time.sleep(0.3)
    stream.cancel()
    assert stopped.wait(30)


def test_on_cancel_after_the_client_has_gone_runs_at_once(serve: Any) -> None:
    order: list[str] = []
    done = threading.Event()

    def handler(call: Call) -> None:
        _until(lambda: call.is_gone)
        call.on_cancel(lambda: order.append("callback"))
        order.append("handler")
        done.set()

    future = serve(Route("/t.T/Call", handler)).unary_unary("/t.T/Call").future(b"")
    time.sleep(0.2)
    future.cancel()
    assert done.wait(30)
    assert order == ["callback", "handler"]


def test_calls_that_wait_are_batched_in_order(serve: Any) -> None:
    release, batches = threading.Event(), []

    def batch(calls: list[Call]) -> None:
        batches.append([c.payload for c in calls])
        if calls[0].payload == b"block":
            release.wait(10)
        for call in calls:
            call.respond(call.payload)

    channel = serve(Route("/t.T/Call", echo, is_inline=True, batch_handler=batch))
    method = channel.unary_unary("/t.T/Call")
    first = method.future(b"block")
    _until(lambda: len(batches) == 1)
    rest = []
    for i in range(20):
        rest.append(method.future(b"%d" % i))
        time.sleep(0.005)
    release.set()
    assert [f.result(timeout=5) for f in [first, *rest]] == [b"block"] + [
        b"%d" % i for i in range(20)
    ]
    assert batches[1] == [b"%d" % i for i in range(20)]


def test_many_calls_at_once_get_their_own_answers(serve: Any) -> None:
    def batch(calls: list[Call]) -> None:
        for call in calls:
            call.respond(call.payload)

    channel = serve(Route("/t.T/Call", echo, is_inline=True, batch_handler=batch))
    method = channel.unary_unary("/t.T/Call")
    futures = [(i, method.future(b"%d" % i, timeout=20)) for i in range(1000)]
    assert all(future.result() == b"%d" % i for i, future in futures)


def test_peer(serve: Any) -> None:
    peers = []

    def handler(call: Call) -> None:
        peers.append(call.peer)
        call.respond(b"")

    ask(serve(Route("/t.T/Call", handler)))
    assert peers[0].startswith("ipv4:127.0.0.1:")


def _until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.005)
