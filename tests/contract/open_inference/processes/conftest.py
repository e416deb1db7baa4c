"""`python -m services.inference --processes 2` as a real process, and many connections to it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2

from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

SERVICE = "inference.GRPCInferenceService"
# With so many connections, that all lead to one of two processes happens once in 30 000 times.
CONNECTIONS = 16
X = np.array([[1.0, 2.0, 3.0]], np.float32)


class Client:
    """One connection, which is one process."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(
            target,
            [
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
            ],
        )

    def __getattr__(self, name: str) -> Any:
        method = methods(SERVICE)[name]
        stub = self.channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return lambda request, timeout=20: stub(request, timeout=timeout)

    def infer(self, model: str, version: str = "") -> np.ndarray:
        request = pb.ModelInferRequest(model_name=model, model_version=version)
        request.inputs.add(name="x", datatype="FP32", shape=X.shape)
        request.raw_input_contents.append(X.tobytes())
        answer = self.ModelInfer(request)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(X.shape)

    def index(self, *, ready: bool = False) -> dict[tuple[str, str], tuple[str, str]]:
        """State and reason by model and version."""
        models = self.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready)).models
        return {(m.name, m.version): (m.state, m.reason) for m in models}

    def is_serving(self) -> bool:
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = health_pb2.HealthCheckResponse.FromString(check(b"", timeout=5))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass
class Service:
    """`python -m services.inference --processes 2` and connections to it."""

    process: subprocess.Popen[str]
    port: int
    metrics_port: int
    lines: list[str]
    clients: list[Client] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connect(self, number: int = CONNECTIONS) -> list[Client]:
        self.clients = [Client(self.target) for _ in range(number)]
        return self.clients

    def everybody(self, question: Callable[[Client], Any]) -> list[Any]:
        """What each connection is answered, all at once."""
        with ThreadPoolExecutor(len(self.clients)) as pool:
            return list(pool.map(question, self.clients))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with those labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if re.match(rf"{name}[ {{]", line) and all(w in line for w in wanted)
        )

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[Service]:
    metrics_port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "services.inference", "--processes", "2"),
            *("--address", "127.0.0.1:0", "--store-uri", str(folder / "store")),
            *("--metrics-address", f"127.0.0.1:{metrics_port}", "--log-format", "json"),
            *("--device", "cpu", "--poll-interval-s", "0.1", *flags),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    lines: list[str] = []
    family: list[psutil.Process] = []
    reader: threading.Thread | None = None
    try:
        port = 0
        for line in process.stderr:
            lines.append(line)
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if found and '"service": "inference"' in line:
                port = int(found[1])
                break
        assert port, "".join(lines)
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
        reader.start()
        service = Service(process, port, metrics_port, lines)
        family = service.children()
        yield service
        with suppress(psutil.NoSuchProcess):
            family += service.children()
    finally:
        process.kill()
        process.wait()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        if reader is not None:
            reader.join(20)  # what writes to the pipe has ended
        process.stderr.close()


@pytest.fixture
def serve(world: Any) -> Iterator[Callable[..., Service]]:
    """Starts the service on the world's store and waits until it is ready."""
    with ExitStack() as stack:

        def start(*flags: str, is_ready: bool = True) -> Service:
            service = stack.enter_context(started(world.folder, *flags))
            clients = service.connect()
            if is_ready:
                world.eventually(lambda: clients[0].ServerReady(pb.ServerReadyRequest()).ready, 30)
            return service

        yield start
