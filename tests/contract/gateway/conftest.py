"""A whole gateway on every data plane, with real neighbours and a stand-in for inference."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from gateway.app import EXPLANATION, INFERENCE, App
from gateway.settings import GatewaySettings
from wintergarden.errors import InvalidArgument, Overloaded, Unavailable
from wintergarden.jobs import Jobs
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.service.testing import UNLIMITED
from wintergarden.service.transport import (
    BidirectionalCall,
    Call,
    Route,
    Server,
    ServerOptions,
    bidirectional,
    create_server,
)
from wintergarden.wire.pool import methods

GRACE_S = 5.0


@dataclass
class Neighbour:
    """Answers every method of a service; the payload says how."""

    service: str
    addresses: list[str]
    cancelled: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)
    deadline_s: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    failures: int = 0

    def start(self) -> Server:
        routes = [
            bidirectional(m.service, m.name, self._chat)
            if m.is_client_streaming
            else Route(m.path, self._answer)
            for m in methods(self.service).values()
        ]
        server = create_server(
            routes, self.addresses, ServerOptions(linger_s=0.01), services=[self.service]
        )
        server.start()
        server.health.set_serving("", True)
        # Started again, it is found where it was.
        self.addresses = server.addresses
        return server

    def _answer(self, call: Call) -> None:
        self.deadline_s = call.time_remaining_s
        self.metadata = dict(call.metadata)
        match call.payload:
            case b"hang":
                call.on_cancel(self.cancelled.set)
                self.arrived.set()
            case b"slow":
                self.arrived.set()
                threading.Timer(0.5, call.respond, (b"slow answer",)).start()
            case b"bad":
                raise InvalidArgument("epsilon is NaN", field="epsilon")
            case b"busy":
                raise Overloaded("the queue is full", retry_after_s=0.25)
            case b"fault":
                raise ZeroDivisionError("swordfish")
            case b"flaky" if self.failures < 2:
                self.failures += 1
                raise Unavailable("not yet")
            case b"big":
                call.respond(bytes(20 * 2**20))
            case payload:
                call.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\xff\x00")))
                call.respond(payload, (("x-last", "2"), ("x-last-bin", b"\x00\xfe")))

    def _chat(self, call: BidirectionalCall) -> None:
        self.deadline_s = call.time_remaining_s
        self.metadata = dict(call.metadata)
        call.on_cancel(self.cancelled.set)
        call.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\xff\x00")))
        for payload in call.messages():
            self.arrived.set()
            match payload:
                case b"bad":
                    raise InvalidArgument("epsilon is NaN", field="epsilon")
                case b"many":
                    for _ in range(100):
                        call.wait_writable()
                        call.send(bytes(2**20))
                case b"slow":
                    time.sleep(0.5)
                    call.send(b"slow answer")
                case _:
                    call.send(payload)
        call.end((("x-last", "2"), ("x-last-bin", b"\x00\xfe")))


@dataclass
class Deployment:
    app: App
    channel: grpc.Channel
    inference: Neighbour
    explanation: Neighbour
    servers: dict[str, Server]
    valkey: ValkeyServer
    jobs: Jobs

    @property
    def target(self) -> str:
        return self.app.server.addresses[0]

    def stop(self, name: str) -> None:
        self.servers.pop(name).stop(0)

    def start(self, name: str) -> None:
        neighbour: Neighbour = getattr(self, name)
        self.servers[name] = neighbour.start()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(Path(tmp_path_factory.mktemp("valkey"))) as running:
        yield running


@pytest.fixture
def deploy(tmp_path: Path, valkey: ValkeyServer) -> Iterator[Callable[..., Deployment]]:
    """Starts a gateway: "socket" is the Rust fallback, "client" Python's, "grpcio" transport."""
    running: list[Deployment] = []

    def start(plane: str, **options: Any) -> Deployment:
        valkey.flush()
        socket = tmp_path / "inference.sock"
        inference = Neighbour(INFERENCE, ["127.0.0.1:0", f"unix:{socket}"])
        explanation = Neighbour(EXPLANATION, ["127.0.0.1:0"])
        servers = {"inference": inference.start(), "explanation": explanation.start()}
        defaults: dict[str, Any] = {
            "address": "127.0.0.1:0",
            "transport": "grpcio" if plane == "grpcio" else "native",
            "inference": inference.addresses[0],
            "inference_socket": socket if plane == "socket" else None,
            "explanation": explanation.addresses[0],
            "store_uri": str(tmp_path / "store"),
            "redis_url": SecretStr(valkey.url()),
            "max_upload_bytes": 1_000_000,
        }
        app = App(GatewaySettings(**(defaults | options)))
        app.start()
        channel = grpc.insecure_channel(app.server.addresses[0], UNLIMITED)
        jobs = Jobs(valkey.url())
        running.append(Deployment(app, channel, inference, explanation, servers, valkey, jobs))
        return running[-1]

    yield start
    for deployment in running:
        deployment.channel.close()
        deployment.app.stop(GRACE_S)
        for name in list(deployment.servers):
            deployment.stop(name)
        deployment.jobs.close()


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
