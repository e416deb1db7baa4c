"""GET /metrics for Prometheus and GET /health, on an HTTP port of its own.

Nothing here runs during a call: collectors read what the transports count anyway.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wintergarden.service.addresses import split
from wintergarden.service.transport import Server


class MetricsServer:
    """Serves from construction until `stop`.

    Args:
        address: host:port; port 0 takes a free one.
        registry: what /metrics tells.
        problem: why the process is not healthy, empty when it is.
    """

    def __init__(
        self, address: str, registry: CollectorRegistry, problem: Callable[[], str]
    ) -> None:
        handler = type(
            "Handler", (_Handler,), {"registry": registry, "problem": staticmethod(problem)}
        )
        try:
            host, port = split(address)
            server = _Server6 if ":" in host else ThreadingHTTPServer
            self._http = server((host, port), handler)
        except OSError as error:
            raise OSError(f"metrics address {address}: {error}") from error
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    problem: Callable[[], str]
    timeout = 10  # seconds that a client may take

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.registry), content_type)
        elif path == "/health":
            problem = self.problem()
            self._answer(503 if problem else 200, (problem or "ok").encode() + b"\n")
        else:
            self._answer(404, b"there are /metrics and /health\n")

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not news."""


def register_process(registry: CollectorRegistry) -> None:
    """CPU, memory, descriptors and Python of this process."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)


class ServerCollector(Collector):
    """What a server has taken on, refused and failed."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        admissions = self._server.admissions
        if not admissions:  # others keep the books
            return
        accepted: Counter[tuple[str, ...]] = Counter()
        refused: Counter[tuple[str, ...]] = Counter()
        failed: Counter[tuple[str, ...]] = Counter()
        waiting = GaugeMetricFamily(
            "wintergarden_calls_open", "Calls without an answer yet", labels=["kind"]
        )
        unary, streams = 0, 0
        for admission in admissions:
            accepted.update({(method,): n for method, n in admission.accepted.items()})
            refused.update({(code,): n for code, n in admission.refused.items()})
            failed.update({**admission.calls.failed(), **admission.streams.failed()})
            unary += len(admission.calls)
            streams += len(admission.streams)
        waiting.add_metric(["unary"], unary)
        waiting.add_metric(["stream"], streams)
        yield waiting
        yield _counter("accepted", "Calls taken on", ["method"], accepted)
        yield _counter("refused", "Calls refused on arrival", ["code"], refused)
        yield _counter("failed", "Calls taken on that failed", ["method", "code"], failed)


def _counter(
    name: str, text: str, labels: list[str], values: Counter[tuple[str, ...]]
) -> CounterMetricFamily:
    metric = CounterMetricFamily(f"wintergarden_calls_{name}", text, labels=labels)
    for label_values, number in values.items():
        metric.add_metric(label_values, number)
    return metric
