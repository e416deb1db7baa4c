"""The container's health check, against real gRPC and HTTP servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from wintergarden.service.healthcheck import ask, main

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def servicer() -> health.HealthServicer:
    return health.HealthServicer()


@pytest.fixture
def address(servicer: health.HealthServicer) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_serving_server_is_well(servicer: health.HealthServicer, address: str) -> None:
    servicer.set("", SERVING)
    assert ask(address) == ""


def test_a_server_that_does_not_serve_says_so(
    servicer: health.HealthServicer, address: str
) -> None:
    servicer.set("", NOT_SERVING)
    assert ask(address) == "NOT_SERVING"


def test_one_service_can_be_asked(servicer: health.HealthServicer, address: str) -> None:
    servicer.set("", NOT_SERVING)
    servicer.set("inference.GRPCInferenceService", SERVING)
    assert ask(address, "inference.GRPCInferenceService") == ""
    assert ask(address, "nobody").startswith("NOT_FOUND")


def test_nobody_there() -> None:
    assert ask("127.0.0.1:1").startswith("UNAVAILABLE")
    assert "refused" in ask("http://127.0.0.1:1/health")


@pytest.fixture(params=[200, 503])
def page(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.end_headers()
            self.wfile.write(b"consumed nothing for 90 s")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield request.param, f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()
        thread.join()


def test_a_page(page: tuple[int, str]) -> None:
    status, url = page
    assert ask(url) == ("" if status == 200 else "HTTP 503: consumed nothing for 90 s")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with a proxy, which is not there."""
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


@pytest.mark.usefixtures("proxy")
def test_no_proxy_is_asked(
    servicer: health.HealthServicer, address: str, page: tuple[int, str]
) -> None:
    servicer.set("", SERVING)
    assert ask(address) == ""
    assert ask(page[1]) in ("", "HTTP 503: consumed nothing for 90 s")


def test_the_exit_status_tells(
    servicer: health.HealthServicer,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["healthcheck", address])
    servicer.set("", SERVING)
    main()
    servicer.set("", NOT_SERVING)
    with pytest.raises(SystemExit, match=f"{address}: NOT_SERVING"):
        main()
