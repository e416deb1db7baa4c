"""Calls that stream both ways: the same suite on both transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from wintergarden.errors import Cancelled, NotFound
from wintergarden.service.testing import details_of, running
from wintergarden.service.transport import BidirectionalCall, Route, Server, ServerOptions

KIB, MIB = 1024, 1024 * 1024
PATH = "/t.T/Chat"


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


class Chat:
    """The client's side of one stream: says what is put, hears what is answered."""

    def __init__(self, channel: grpc.Channel, timeout: float | None = 20, **options: Any) -> None:
        self._said: SimpleQueue[bytes | None] = SimpleQueue()
        self.stream: Any = channel.stream_stream(PATH)(
            iter(self._said.get, None), timeout=timeout, **options
        )

    def say(self, *messages: bytes) -> None:
        for message in messages:
            self._said.put(message)

    def half_close(self) -> None:
        self._said.put(None)

    def hear(self, count: int) -> list[bytes]:
        return [next(self.stream) for _ in range(count)]

    def failure(self) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            for _ in self.stream:
                pass
        return caught.value


@contextmanager
def serving(
    transport: Any, handler: Callable[[BidirectionalCall], None], **options: Any
) -> Iterator[tuple[Server, grpc.Channel]]:
    route = Route(PATH, handler, streams=True, is_bidirectional=True)
    with running([route], ServerOptions(transport=transport, linger_s=0.05, **options)) as served:
        yield served


def echo(call: BidirectionalCall) -> None:
    for message in call.messages():
        call.send(message)
    call.end()


class Hold:
    """Takes every message and answers once it is told to; ends after the last answer."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.release = threading.Event()
        self.gone = threading.Event()

    def __call__(self, call: BidirectionalCall) -> None:
        call.on_cancel(self.gone.set)
        for message in call.messages():
            self.taken.append(message)

        def answer() -> None:
            self.release.wait(20)
            for message in self.taken:
                call.send(message)
            call.end()

        threading.Thread(target=answer, daemon=True).start()


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def test_each_message_is_answered_while_the_stream_is_open(transport: Any) -> None:
    with serving(transport, echo) as (_, channel):
        chat = Chat(channel)
        for message in (b"one", b"", bytes(3 * MIB)):
            chat.say(message)
            assert chat.hear(1) == [message]
        chat.half_close()
        assert list(chat.stream) == []


def test_a_thousand_in_flight_answered_later_from_another_thread(transport: Any) -> None:
    hold = Hold()
    with serving(transport, hold) as (_, channel):
        chat = Chat(channel)
        messages = [b"%d" % i for i in range(1000)]
        chat.say(*messages)
        until(lambda: len(hold.taken) == 1000)
        chat.half_close()
        hold.release.set()
        assert list(chat.stream) == messages


def test_answers_of_many_threads_arrive_whole_and_the_end_after_them(transport: Any) -> None:
    def handler(call: BidirectionalCall) -> None:
        list(call.messages())

        def send(number: int) -> None:
            for i in range(200):
                call.send(b"%d/%d" % (number, i))

        senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        call.end()

    with serving(transport, handler) as (_, channel):
        chat = Chat(channel)
        chat.half_close()
        heard = list(chat.stream)
        assert sorted(heard) == sorted(b"%d/%d" % (n, i) for n in range(8) for i in range(200))
        for n in range(8):
            mine = [m for m in heard if m.startswith(b"%d/" % n)]
            assert mine == [b"%d/%d" % (n, i) for i in range(200)]


def test_metadata_both_ways(transport: Any) -> None:
    seen: dict[str, Any] = {}

    def handler(call: BidirectionalCall) -> None:
        seen.update(call.metadata)
        messages = list(call.messages())
        call.send_initial_metadata((("first", "1"), ("first-bin", b"\xff\x00")))
        for message in messages:
            call.send(message)
        call.end((("last", "2"), ("last-bin", b"\x01")))

    with serving(transport, handler) as (_, channel):
        for messages in ([], [b"m"]):
            chat = Chat(channel, metadata=(("key", "value"), ("key-bin", b"\x00\xfe")))
            chat.say(*messages)
            chat.half_close()
            assert list(chat.stream) == messages
            assert (seen["key"], seen["key-bin"]) == ("value", b"\x00\xfe")
            first = dict(chat.stream.initial_metadata())
            last = dict(chat.stream.trailing_metadata())
            assert (first["first"], first["first-bin"]) == ("1", b"\xff\x00")
            assert (last["last"], last["last-bin"]) == ("2", b"\x01")


@pytest.mark.parametrize("size", [MIB, 0], ids=["bytes", "count"])
def test_a_client_that_does_not_read_is_not_served_for_ever(transport: Any, size: int) -> None:
    taken = []

    def handler(call: BidirectionalCall) -> None:
        for _ in call.messages():
            taken.append(1)
            call.send(bytes(size or 10_000))
        call.end()

    limits = {"max_unsent_bytes": 4 * MIB} if size else {"max_unsent_messages": 16}
    with serving(transport, handler, **limits) as (_, channel):
        chat = Chat(channel)
        chat.say(*[b"more"] * 1000)
        until(lambda: len(taken) >= 4)
        time.sleep(0.7)
        # Buffers of the sockets between us hold some MiB as well.
        most = 48 if size else 900
        assert len(taken) < most, "the server buffered answers instead of waiting for their reader"
        chat.half_close()
        assert sum(1 for _ in chat.stream) == 1000


def test_requests_are_read_ahead_within_bounds(transport: Any) -> None:
    release = threading.Event()

    def handler(call: BidirectionalCall) -> None:
        release.wait(20)
        for message in call.messages():
            call.send(b"%d" % len(message))
        call.end()

    with serving(transport, handler, max_unsent_bytes=4 * MIB) as (_, channel):
        sent = []

        def requests() -> Iterator[bytes]:
            for i in range(64):
                sent.append(i)
                yield bytes(MIB)

        stream = channel.stream_stream(PATH)(requests(), timeout=30)
        until(lambda: len(sent) >= 4)
        time.sleep(0.7)
        assert len(sent) < 48, "the server took requests that nobody handles"
        release.set()
        assert list(stream) == [b"%d" % MIB] * 64


def test_many_answers_to_one_message_wait_for_their_reader(transport: Any) -> None:
    sent = []

    def handler(call: BidirectionalCall) -> None:
        for _ in call.messages():
            for i in range(64):
                call.wait_writable()
                call.send(bytes(MIB))
                sent.append(i)
        call.end()

    with serving(transport, handler, max_unsent_bytes=4 * MIB) as (_, channel):
        chat = Chat(channel)
        chat.say(b"go")
        assert len(chat.hear(1)[0]) == MIB
        time.sleep(0.7)
        assert len(sent) < 48
        chat.half_close()
        assert sum(1 for _ in chat.stream) == 63


@pytest.mark.parametrize("waits_for", ["messages", "wait_writable"])
def test_a_client_that_goes_ends_whatever_waits_for_it(transport: Any, waits_for: str) -> None:
    stopped: SimpleQueue[str] = SimpleQueue()

    def handler(call: BidirectionalCall) -> None:
        call.on_cancel(lambda: stopped.put("told"))
        for _ in call.messages():
            call.send(b"here")
            if waits_for == "wait_writable":
                with pytest.raises(Cancelled):
                    while True:
                        call.wait_writable()
                        call.send(bytes(MIB))
        assert call.is_gone
        call.send(b"nobody reads this")
        call.end()
        stopped.put("stopped")

    with serving(transport, handler, max_unsent_bytes=2 * MIB) as (server, channel):
        chat = Chat(channel)
        chat.say(b"hello")
        chat.hear(1)
        time.sleep(0.2)
        chat.stream.cancel()
        assert {stopped.get(timeout=5), stopped.get(timeout=5)} == {"told", "stopped"}
        until(lambda: all(a.is_empty() for a in server.admissions))


def test_deadline(transport: Any) -> None:
    hold, remaining = Hold(), []

    def handler(call: BidirectionalCall) -> None:
        remaining.append(call.time_remaining_s)
        hold(call)

    with serving(transport, handler) as (_, channel):
        chat = Chat(channel, timeout=0.5)
        chat.say(b"x")
        assert chat.failure().code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert hold.gone.wait(30)
        assert remaining[0] is not None
        assert 0 < remaining[0] <= 0.51


def test_no_deadline(transport: Any) -> None:
    seen = []

    def handler(call: BidirectionalCall) -> None:
        seen.append((call.deadline, call.time_remaining_s, call.is_cancelled))
        echo(call)

    with serving(transport, handler) as (_, channel):
        chat = Chat(channel, timeout=None)
        chat.half_close()
        assert list(chat.stream) == []
    assert seen == [(None, None, False)]


def test_a_failure_follows_the_answers_before_it(transport: Any) -> None:
    def handler(call: BidirectionalCall) -> None:
        for message in call.messages():
            call.send(message)
            raise NotFound(f"no {message.decode()}")

    with serving(transport, handler) as (_, channel):
        chat = Chat(channel)
        chat.say(b"model")
        assert chat.hear(1) == [b"model"]
        error = chat.failure()
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no model")
        assert details_of(error)["ErrorInfo"].reason == "NOT_FOUND"


def test_a_failure_said_by_another_thread_ends_the_reading(transport: Any) -> None:
    ended = threading.Event()

    def handler(call: BidirectionalCall) -> None:
        for _ in call.messages():
            threading.Timer(0.1, call.fail, (NotFound("gone"),)).start()
        ended.set()

    with serving(transport, handler) as (_, channel):
        chat = Chat(channel)
        chat.say(b"x")
        assert chat.failure().code() == grpc.StatusCode.NOT_FOUND
        assert ended.wait(30)


def test_a_fault_tells_a_trace_and_nothing_else(
    transport: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(call: BidirectionalCall) -> None:
        raise ZeroDivisionError("the password is swordfish")

    with serving(transport, handler, max_streams=1) as (_, channel):
        for _ in range(3):
            error = Chat(channel).failure()
            assert error.code() == grpc.StatusCode.INTERNAL
            trace = details_of(error)["ErrorInfo"].metadata["trace"]
            assert error.details() == f"internal error (trace {trace})"
            assert trace in capsys.readouterr().out


def test_a_long_message_ends_its_stream_alone(transport: Any) -> None:
    taken = []

    def handler(call: BidirectionalCall) -> None:
        for message in call.messages():
            taken.append(len(message))
            call.send(message)
        call.end()

    with serving(transport, handler, max_request_bytes=MIB) as (_, channel):
        other, chat = Chat(channel), Chat(channel)
        other.say(b"x")
        other.hear(1)
        chat.say(bytes(MIB))
        chat.hear(1)
        chat.say(bytes(MIB + 1))
        error = chat.failure()
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(MIB) in error.details()
        other.say(b"y")
        assert other.hear(1) == [b"y"]
        other.half_close()
        assert list(other.stream) == []
    assert taken == [1, MIB, 1]


def test_streams_beyond_the_bound_are_refused_at_once(transport: Any) -> None:
    with serving(transport, echo, max_streams=2) as (_, channel):
        chats = [Chat(channel) for _ in range(2)]
        for chat in chats:
            chat.say(b"x")
            chat.hear(1)
        error = Chat(channel).failure()
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0
        for chat in chats:
            chat.half_close()
            assert list(chat.stream) == []
        again = Chat(channel)
        again.say(b"y")
        assert again.hear(1) == [b"y"]
        again.half_close()


def test_draining_answers_what_was_taken_and_takes_no_more(transport: Any) -> None:
    hold = Hold()
    with serving(transport, hold) as (server, channel):
        chat = Chat(channel)
        chat.say(b"1", b"2")
        until(lambda: len(hold.taken) == 2)
        stopping = threading.Thread(target=server.stop, args=(10,))
        stopping.start()
        time.sleep(0.2)
        chat.say(b"3")
        error = Chat(channel).failure()
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert stopping.is_alive()
        hold.release.set()
        assert chat.hear(2) == [b"1", b"2"]
        error = chat.failure()
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in error.details()
        stopping.join(5)
        assert not stopping.is_alive()
    assert hold.taken == [b"1", b"2"]


def test_a_stream_whose_client_said_its_last_ends_well_while_draining(transport: Any) -> None:
    hold = Hold()
    with serving(transport, hold) as (server, channel):
        chat = Chat(channel)
        chat.say(b"1")
        chat.half_close()
        until(lambda: len(hold.taken) == 1)
        time.sleep(0.1)
        stopping = threading.Thread(target=server.stop, args=(10,))
        stopping.start()
        time.sleep(0.1)
        hold.release.set()
        assert list(chat.stream) == [b"1"]
        stopping.join(5)
        assert not stopping.is_alive()


def test_an_idle_stream_does_not_hold_up_the_drain(transport: Any) -> None:
    with serving(transport, echo) as (server, channel):
        chat = Chat(channel)
        chat.say(b"x")
        chat.hear(1)
        started = time.monotonic()
        server.stop(10)
        assert time.monotonic() - started < 3
        assert chat.failure().code() == grpc.StatusCode.UNAVAILABLE


def test_what_the_grace_does_not_suffice_for_is_told(transport: Any) -> None:
    hold = Hold()
    with serving(transport, hold) as (server, channel):
        chat = Chat(channel)
        chat.say(b"x")
        until(lambda: len(hold.taken) == 1)
        server.stop(0.2)
        assert chat.failure().code() == grpc.StatusCode.UNAVAILABLE
        assert hold.gone.is_set()
        hold.release.set()


def test_many_streams_at_once_hear_their_own_answers(transport: Any) -> None:
    with serving(transport, echo) as (server, channel):
        wrong = []

        def client(number: int) -> None:
            chat = Chat(channel)
            messages = [b"%d/%d" % (number, i) for i in range(100)]
            chat.say(*messages)
            chat.half_close()
            if list(chat.stream) != messages:
                wrong.append(number)

        clients = [threading.Thread(target=client, args=(n,)) for n in range(32)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        assert wrong == []
        accepted = sum(a.accepted.get(PATH, 0) for a in server.admissions)
        assert accepted == 32
        until(lambda: all(a.is_empty() for a in server.admissions))


def test_a_route_that_streams_both_ways_cannot_go_beside_a_fallback(tmp_path: Any) -> None:
    from wintergarden.service.transport import create_server

    route = Route(PATH, echo, streams=True, is_bidirectional=True)
    with pytest.raises(ValueError, match=PATH):
        create_server([route], ["127.0.0.1:0"], fallback_socket=str(tmp_path / "s.sock"))
