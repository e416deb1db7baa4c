from __future__ import annotations

import socket
import urllib.error
import urllib.request

import grpc
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from wintergarden.errors import NotFound
from wintergarden.service.metrics import MetricsServer, ServerCollector, register_process
from wintergarden.service.testing import running
from wintergarden.service.transport import Call, Route, ServerOptions


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_follows_the_process() -> None:
    problems = ["no worker answers"]
    server = MetricsServer("127.0.0.1:0", CollectorRegistry(), lambda: problems[0])
    try:
        assert get(server.port, "/health") == (503, "no worker answers\n")
        problems[0] = ""
        assert get(server.port, "/health") == (200, "ok\n")
        assert get(server.port, "/other")[0] == 404
    finally:
        server.stop()


def test_an_address_of_the_sixth_version() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as exc:
        pytest.skip(f"no ::1 here: {exc}")
    server = MetricsServer("[::1]:0", CollectorRegistry(), lambda: "")
    try:
        assert get(server.port, "/health", "[::1]") == (200, "ok\n")
    finally:
        server.stop()


def test_a_taken_address_is_named() -> None:
    server = MetricsServer("127.0.0.1:0", CollectorRegistry(), lambda: "")
    try:
        with pytest.raises(OSError, match=f"127.0.0.1:{server.port}"):
            MetricsServer(f"127.0.0.1:{server.port}", CollectorRegistry(), lambda: "")
    finally:
        server.stop()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_calls_are_counted(transport: str) -> None:
    def handler(call: Call) -> None:
        if call.payload:
            raise NotFound("nothing")
        call.respond(b"")

    registry = CollectorRegistry()
    register_process(registry)
    options = ServerOptions(transport=transport, linger_s=0.01, max_request_bytes=100)  # type: ignore[arg-type]
    with running([Route("/t.T/Call", handler)], options) as (server, channel):
        registry.register(ServerCollector(server))
        metrics = MetricsServer("127.0.0.1:0", registry, lambda: "")
        method = channel.unary_unary("/t.T/Call")
        for payload in (b"", b"", b"x", bytes(101)):
            try:
                method(payload, timeout=5)
            except grpc.RpcError:
                continue
        status, text = get(metrics.port, "/metrics")
        metrics.stop()
    assert status == 200
    samples = {
        (s.name, *sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert samples["wintergarden_calls_accepted_total", "/t.T/Call"] == 3
    assert samples["wintergarden_calls_failed_total", "/t.T/Call", "NOT_FOUND"] == 1
    assert samples["wintergarden_calls_open", "unary"] == 0
    if transport == "native":  # grpcio refuses it before we hear of it
        assert samples["wintergarden_calls_refused_total", "RESOURCE_EXHAUSTED"] == 1
    assert samples["process_cpu_seconds_total",] > 0
