"""Triton's calls beyond ModelInfer, on each way through the gateway: streams and admin calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from gateway.admin import ADMIN_CALLS
from gateway.app import INFERENCE
from wintergarden.service.testing import details_of
from wintergarden.wire.pool import methods

CHAT = f"/{INFERENCE}/ModelStreamInfer"
PLANES = ["socket", "client", "grpcio"]
Deploy = Callable[..., Any]


@pytest.fixture(params=PLANES)
def plane(request: pytest.FixtureRequest) -> Any:
    return request.param


class Chat:
    def __init__(self, channel: grpc.Channel, timeout: float | None = 20, **options: Any) -> None:
        self._said: SimpleQueue[bytes | None] = SimpleQueue()
        self.stream: Any = channel.stream_stream(CHAT)(
            iter(self._said.get, None), timeout=timeout, **options
        )

    def say(self, message: bytes | None) -> None:
        """None is the last thing to say."""
        self._said.put(message)

    def failure(self) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            for _ in self.stream:
                pass
        return caught.value


def test_a_stream_passes_both_ways_while_it_is_open(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane)
    chat = Chat(deployment.channel, metadata=(("x-mine", "7"), ("x-mine-bin", b"\x00\xff")))
    for message in (b"\xff no protobuf", b"", bytes(3 * 2**20)):
        chat.say(message)
        assert next(chat.stream) == message
    chat.say(None)
    assert list(chat.stream) == []
    seen = deployment.inference.metadata
    assert (seen["x-mine"], seen["x-mine-bin"]) == ("7", b"\x00\xff")
    first, last = dict(chat.stream.initial_metadata()), dict(chat.stream.trailing_metadata())
    assert (first["x-first"], first["x-first-bin"]) == ("1", b"\xff\x00")
    assert (last["x-last"], last["x-last-bin"]) == ("2", b"\x00\xfe")


def test_many_messages_in_flight(deploy: Deploy, plane: str) -> None:
    chat = Chat(deploy(plane).channel)
    messages = [b"%d" % i for i in range(1000)]
    for message in messages:
        chat.say(message)
    chat.say(None)
    assert list(chat.stream) == messages


def test_a_slow_reader_holds_the_stream_back(deploy: Deploy, plane: str) -> None:
    chat = Chat(deploy(plane).channel)
    chat.say(b"many")
    chat.say(None)
    assert len(next(chat.stream)) == 2**20
    time.sleep(0.5)
    assert sum(1 for _ in chat.stream) == 99


def test_the_status_of_a_stream_passes_as_it_is(deploy: Deploy, plane: str) -> None:
    chat = Chat(deploy(plane).channel)
    chat.say(b"x")
    assert next(chat.stream) == b"x"
    chat.say(b"bad")
    error = chat.failure()
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "epsilon is NaN",
    )
    assert details_of(error)["BadRequest"].field_violations[0].field == "epsilon"


def test_the_deadline_of_a_stream_is_passed_on_and_kept(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane)
    chat = Chat(deployment.channel, timeout=0.5)
    assert chat.failure().code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert deployment.inference.deadline_s is not None
    assert 0 < deployment.inference.deadline_s <= 0.51
    assert deployment.inference.cancelled.wait(30)


def test_the_cancellation_of_a_stream_is_passed_on(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane)
    chat = Chat(deployment.channel, timeout=None)
    chat.say(b"x")
    assert next(chat.stream) == b"x"
    chat.stream.cancel()
    assert deployment.inference.cancelled.wait(30)


@pytest.mark.parametrize("plane", ["client", "grpcio"])
def test_a_stream_with_nobody_behind(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane)
    deployment.stop("inference")
    error = Chat(deployment.channel).failure()
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "the inference service at" in error.details()


@pytest.mark.parametrize("plane", ["client", "grpcio"])
def test_draining_finishes_what_a_stream_has_handed_on(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane)
    chat = Chat(deployment.channel)
    chat.say(b"slow")
    assert deployment.inference.arrived.wait(30)
    stopping = threading.Thread(target=deployment.app.stop, args=(10,))
    stopping.start()
    assert next(chat.stream) == b"slow answer"
    assert chat.failure().code() == grpc.StatusCode.UNAVAILABLE
    stopping.join(5)
    assert not stopping.is_alive()


def test_what_tells_about_models_passes(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane)
    for name in ("ModelConfig", "ModelStatistics", "RepositoryIndex", "ModelMetadata"):
        assert deployment.channel.unary_unary(f"/{INFERENCE}/{name}")(b"x", timeout=5) == b"x"


def test_admin_calls_are_refused_and_the_cure_is_named(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane)
    for name in ADMIN_CALLS:
        with pytest.raises(grpc.RpcError) as caught:
            deployment.channel.unary_unary(f"/{INFERENCE}/{name}")(b"x", timeout=5)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert name in caught.value.details()
        assert "GATEWAY_ADMIN_CALLS" in caught.value.details()
        assert details_of(caught.value)["ErrorInfo"].reason == "PERMISSION_DENIED"
    assert deployment.inference.metadata == {}


def test_admin_calls_pass_where_that_was_asked_for(deploy: Deploy, plane: str) -> None:
    deployment = deploy(plane, admin_calls=True)
    for name in ADMIN_CALLS:
        assert deployment.channel.unary_unary(f"/{INFERENCE}/{name}")(b"x", timeout=5) == b"x"


def test_every_call_that_changes_the_server_is_an_admin_call() -> None:
    passed_on = set(methods(INFERENCE)) - ADMIN_CALLS
    assert passed_on == {
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata",
        "ModelInfer", "ModelStreamInfer", "ModelConfig", "ModelStatistics", "RepositoryIndex",
    }  # fmt: skip
    assert set(methods(INFERENCE)) >= ADMIN_CALLS
