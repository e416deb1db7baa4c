"""Addresses, health and reflection: the same suite on both transports."""

from __future__ import annotations

import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from wintergarden.errors import NotFound
from wintergarden.service.testing import running
from wintergarden.service.transport import (
    Call,
    Route,
    Server,
    ServerOptions,
    bidirectional,
    create_server,
    server_stream,
    unary,
)
from wintergarden.wire import training_pb2
from wintergarden.wire.pool import methods

TRAINING = "wintergarden.v1.TrainingService"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture(params=["native", "grpcio"])
def options(request: pytest.FixtureRequest) -> ServerOptions:
    return ServerOptions(transport=request.param, linger_s=0.01)


def echo(call: Call) -> None:
    call.respond(call.payload)


def test_tcp_and_unix_socket_at_once(options: ServerOptions, tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"
    server = create_server([Route("/t.T/Call", echo)], ["127.0.0.1:0", f"unix:{socket}"], options)
    server.start()
    try:
        assert server.ports[0] > 0
        assert server.ports[1] == 0
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        for target in (f"127.0.0.1:{server.ports[0]}", f"unix:{socket}"):
            with grpc.insecure_channel(target) as channel:
                assert channel.unary_unary("/t.T/Call")(b"hello", timeout=5) == b"hello"
    finally:
        server.stop(1)
    assert not socket.exists()


def test_a_taken_address_is_named(options: ServerOptions) -> None:
    with running([], options) as (server, _):
        address = f"127.0.0.1:{server.ports[0]}"
        with pytest.raises(OSError, match=address):
            create_server([], [address], options)


def test_a_port_shared_on_request(options: ServerOptions) -> None:
    """Connections are spread by the kernel; what one server leaves, the other serves on."""
    options = replace(options, reuse_port=True)
    seen: set[str] = set()

    def server(name: str, address: str) -> Server:
        def answer(call: Call) -> None:
            seen.add(name)
            call.respond(b"")

        made = create_server([Route("/t.T/Call", answer)], [address], options)
        made.start()
        return made

    def call() -> None:
        with grpc.insecure_channel(
            first.addresses[0], [("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            channel.unary_unary("/t.T/Call")(b"", timeout=5)

    first = server("first", "127.0.0.1:0")
    second = server("second", first.addresses[0])
    try:
        assert second.ports == first.ports
        for _ in range(200):
            call()
            if len(seen) == 2:
                break
        assert seen == {"first", "second"}
        second.stop(1)
        seen.clear()
        for _ in range(10):
            call()
        assert seen == {"first"}
    finally:
        first.stop(1)
        second.stop(1)


def test_the_same_path_twice_is_refused(options: ServerOptions) -> None:
    with pytest.raises(ValueError, match=r"twice.*/t\.T/Call"):
        create_server([Route("/t.T/Call", echo)] * 2, ["127.0.0.1:0"], options)


def test_messages_are_parsed_and_built(options: ServerOptions) -> None:
    def get_job(request: Any, call: Call) -> Any:
        if request.job_id == "missing":
            raise NotFound("no job 'missing'")
        return training_pb2.GetJobResponse(job=training_pb2.Job(id=request.job_id))

    def watch_job(request: Any, call: Call) -> Any:
        for i in range(3):
            event = training_pb2.JobEvent(cursor=f"{request.job_id}-{i}")
            yield training_pb2.WatchJobResponse(event=event)

    routes = [unary(TRAINING, "GetJob", get_job), server_stream(TRAINING, "WatchJob", watch_job)]
    with running(routes, options, services=[TRAINING]) as (_, channel):
        get = channel.unary_unary(f"/{TRAINING}/GetJob")
        request = training_pb2.GetJobRequest(job_id="a").SerializeToString()
        assert training_pb2.GetJobResponse.FromString(get(request, timeout=5)).job.id == "a"
        with pytest.raises(grpc.RpcError) as caught:
            get(b"\xff\xff\xff", timeout=5)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "wintergarden.v1.GetJobRequest" in caught.value.details()
        watch = channel.unary_stream(f"/{TRAINING}/WatchJob")
        events = [training_pb2.WatchJobResponse.FromString(m) for m in watch(request, timeout=5)]
        assert [e.event.cursor for e in events] == ["a-0", "a-1", "a-2"]


def test_a_route_must_match_the_descriptors() -> None:
    with pytest.raises(ValueError, match="not unary"):
        unary(TRAINING, "WatchJob", lambda request, call: request)
    with pytest.raises(ValueError, match="not server-streaming"):
        server_stream(TRAINING, "GetJob", lambda request, call: iter(()))  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="not bidirectional"):
        bidirectional(TRAINING, "WatchJob", lambda call: call.end())
    with pytest.raises(ValueError, match="not server-streaming"):
        server_stream(
            "inference.GRPCInferenceService",
            "ModelStreamInfer",
            lambda request, call: iter(()),  # type: ignore[arg-type,return-value]
        )


def _health(channel: grpc.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    answer = channel.unary_unary(CHECK)(request, timeout=5)
    return int(health_pb2.HealthCheckResponse.FromString(answer).status)


def test_health_check(options: ServerOptions) -> None:
    with running([], options, services=["a.A", "b.B"]) as (server, channel):
        assert _health(channel, "") == SERVING
        server.health.set_serving("a.A", False)
        assert [_health(channel, s) for s in ("a.A", "b.B", "")] == [
            NOT_SERVING, SERVING, NOT_SERVING,
        ]  # fmt: skip
        with pytest.raises(grpc.RpcError) as caught:
            _health(channel, "c.C")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(ValueError, match=r"c\.C"):
            server.health.set_serving("c.C", True)


def test_health_watch(options: ServerOptions) -> None:
    with running([], options, services=["a.A"]) as (server, channel):
        request = health_pb2.HealthCheckRequest(service="a.A").SerializeToString()
        stream = channel.unary_stream(WATCH)(request, timeout=20)

        def status() -> int:
            return int(health_pb2.HealthCheckResponse.FromString(next(stream)).status)

        assert status() == SERVING
        server.health.set_serving("a.A", False)
        assert status() == NOT_SERVING
        server.health.set_serving("a.A", True)
        assert status() == SERVING
        unknown = channel.unary_stream(WATCH)(
            health_pb2.HealthCheckRequest(service="z.Z").SerializeToString(), timeout=20
        )
        first = health_pb2.HealthCheckResponse.FromString(next(unknown))
        assert first.status == SERVICE_UNKNOWN
        unknown.cancel()
        started = time.monotonic()
        server.stop(10)
        assert time.monotonic() - started < 5
        assert status() == NOT_SERVING
        with pytest.raises(StopIteration):
            next(stream)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(options: ServerOptions, version: str) -> None:
    with running([], options, services=[TRAINING]) as (_, channel):
        method = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=TRAINING),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such"),
        ]
        listed, training, health, missing = method(iter(asked), timeout=10)
        names = {s.name for s in listed.list_services_response.service}
        assert {TRAINING, "grpc.health.v1.Health"} <= names
        assert len(training.file_descriptor_response.file_descriptor_proto) >= 2
        assert b"WatchJob" in b"".join(training.file_descriptor_response.file_descriptor_proto)
        assert health.file_descriptor_response.file_descriptor_proto
        assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_our_own_services_stream_one_way_at_most() -> None:
    """So every call of theirs runs in the native front; of Triton's protocol, one does not."""
    for service in (
        TRAINING,
        "wintergarden.v1.ModelsService",
        "wintergarden.v1.ExplanationService",
    ):
        assert not any(m.is_client_streaming for m in methods(service).values())
    inference = methods("inference.GRPCInferenceService").values()
    assert [m.name for m in inference if m.is_client_streaming] == ["ModelStreamInfer"]
