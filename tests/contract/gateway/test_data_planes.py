"""What passes through the gateway, on each way through it: the same suite for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway import datasets, models, training
from gateway.app import EXPLANATION, INFERENCE
from wintergarden.service.testing import details_of

INFER = f"/{INFERENCE}/ModelInfer"
EXPLAIN = f"/{EXPLANATION}/Explain"
PLANES = ["socket", "client", "grpcio"]
# Inference has several ways through, explanation one on each transport.
WAYS = [(plane, INFER) for plane in PLANES] + [("client", EXPLAIN), ("grpcio", EXPLAIN)]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{way[1].rpartition('/')[2]}")
def way(request: pytest.FixtureRequest, deploy: Callable[[str], Any]) -> Any:
    """A deployment, the method to call through it, and who is behind."""
    plane, path = request.param
    deployment = deploy(plane)
    name = "inference" if path == INFER else "explanation"
    return deployment, deployment.channel.unary_unary(path), name


def failure(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_bytes_and_metadata_pass_unread_both_ways(way: Any) -> None:
    deployment, method, name = way
    metadata = (("x-mine", "7"), ("x-mine-bin", b"\x00\xff"))
    answer, call = method.with_call(b"\xff no protobuf", metadata=metadata, timeout=10)
    assert answer == b"\xff no protobuf"
    seen = getattr(deployment, name).metadata
    assert (seen["x-mine"], seen["x-mine-bin"]) == ("7", b"\x00\xff")
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (first["x-first"], first["x-first-bin"]) == ("1", b"\xff\x00")
    assert (last["x-last"], last["x-last-bin"]) == ("2", b"\x00\xfe")


def test_big_messages(way: Any) -> None:
    _, method, _ = way
    assert len(method(b"big", timeout=20)) == 20 * 2**20
    assert len(method(bytes(20 * 2**20), timeout=20)) == 20 * 2**20


def test_status_and_details_pass_as_they_are(way: Any) -> None:
    _, method, _ = way
    error = failure(lambda: method(b"bad", timeout=10))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "epsilon is NaN"
    assert details_of(error)["BadRequest"].field_violations[0].field == "epsilon"
    error = failure(lambda: method(b"busy", timeout=10))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() == 250
    error = failure(lambda: method(b"fault", timeout=10))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details().startswith("internal error (trace ")


def test_the_deadline_is_passed_on_and_kept(way: Any) -> None:
    deployment, method, name = way
    neighbour = getattr(deployment, name)
    started = time.monotonic()
    error = failure(lambda: method(b"hang", timeout=0.5))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2
    assert neighbour.deadline_s is not None
    assert 0 < neighbour.deadline_s <= 0.51
    assert neighbour.cancelled.wait(30)


def test_without_a_deadline_none_is_made_up(way: Any) -> None:
    deployment, method, name = way
    method(b"x")
    assert getattr(deployment, name).deadline_s is None


def test_cancellation_is_passed_on(way: Any) -> None:
    deployment, method, name = way
    neighbour = getattr(deployment, name)
    future = method.future(b"hang")
    assert neighbour.arrived.wait(30)
    future.cancel()
    assert neighbour.cancelled.wait(30)


def test_nobody_behind_and_back_again(way: Any) -> None:
    deployment, method, name = way
    assert method(b"x", timeout=10) == b"x"
    deployment.stop(name)
    error = failure(lambda: method(b"x", timeout=10))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    # The gateway itself is well, and says so.
    check = deployment.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert health_pb2.HealthCheckResponse.FromString(check(b"", timeout=5)).status == 1
    deployment.start(name)
    end = time.monotonic() + 10
    while True:
        try:
            assert method(b"x", timeout=5) == b"x"
            break
        except grpc.RpcError:
            assert time.monotonic() < end, "it was not found again"
            time.sleep(0.05)


@pytest.mark.parametrize("path", [INFER, EXPLAIN], ids=["ModelInfer", "Explain"])
def test_unavailable_is_tried_again(deploy: Callable[[str], Any], path: str) -> None:
    deployment = deploy("client")
    neighbour = deployment.inference if path == INFER else deployment.explanation
    assert deployment.channel.unary_unary(path)(b"flaky", timeout=10) == b"flaky"
    assert neighbour.failures == 2


@pytest.mark.parametrize("plane", ["client", "grpcio"])
def test_draining_finishes_what_was_handed_on(deploy: Callable[[str], Any], plane: str) -> None:
    deployment = deploy(plane)
    future = deployment.channel.unary_unary(INFER).future(b"slow", timeout=10)
    assert deployment.inference.arrived.wait(30)
    deployment.app.stop(5)
    assert future.result() == b"slow answer"


@pytest.mark.parametrize("plane", PLANES)
def test_many_at_once_get_their_own_answers(deploy: Callable[[str], Any], plane: str) -> None:
    method = deploy(plane).channel.unary_unary(INFER)
    wrong = []

    def client(number: int) -> None:
        for k in range(50):
            payload = b"%d/%d" % (number, k)
            if method(payload, timeout=20) != payload:
                wrong.append(payload)

    clients = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("plane", PLANES)
def test_reflection_describes_every_service(deploy: Callable[[str], Any], plane: str) -> None:
    stream = deploy(plane).channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    services = [INFERENCE, EXPLANATION, datasets.SERVICE, models.SERVICE, training.SERVICE]
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=s) for s in services]
    asked.append(reflection_pb2.ServerReflectionRequest(list_services=""))
    *described, listed = stream(iter(asked), timeout=10)
    assert all(d.file_descriptor_response.file_descriptor_proto for d in described)
    names = {service.name for service in listed.list_services_response.service}
    # Through the socket it is inference that answers, and it lists what it serves itself.
    assert names >= ({INFERENCE} if plane == "socket" else set(services))
