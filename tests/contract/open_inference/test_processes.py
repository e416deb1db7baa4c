"""`--processes 2`: whichever process a connection leads to, the answer is the server's."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
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
NEGATED = np.array([[1.0, 2.0, 3.0]], np.float32)
NEG = "neg (float[n, 3] x) => (float[n, 3] y) { y = Neg (x) }"
SCALED = """scaled (float[n, 3] x) => (float[n, 3] y) <float f = {%s}> { y = Mul (x, f) }"""

pytestmark = pytest.mark.parametrize("world", ["native"], indirect=True)


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


def infer(client: Client, model: str, version: str = "") -> np.ndarray:
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name="x", datatype="FP32", shape=NEGATED.shape)
    request.raw_input_contents.append(NEGATED.tobytes())
    answer = client.ModelInfer(request)
    return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(NEGATED.shape)


def everybody(clients: list[Client], question: Callable[[Client], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(question, clients))


def index(client: Client, *, ready: bool = False) -> dict[tuple[str, str], tuple[str, str]]:
    models = client.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready)).models
    return {(m.name, m.version): (m.state, m.reason) for m in models}


def load(client: Client, model: str, **parameters: Any) -> None:
    request = pb.RepositoryModelLoadRequest(model_name=model)
    for name, value in parameters.items():
        if isinstance(value, bytes):
            request.parameters[name.replace("__", ":")].bytes_param = value
        else:
            request.parameters[name].string_param = value
    client.RepositoryModelLoad(request)


def test_ready_together_and_counted_together(world: Any, serve: Any) -> None:
    world.publish("neg", NEG)
    service = serve()
    assert len(service.children()) == 2
    assert all(everybody(service.clients, Client.is_serving))
    for client in service.clients:
        assert client.ServerLive(pb.ServerLiveRequest()).live
        assert client.ServerReady(pb.ServerReadyRequest()).ready
        assert client.ModelReady(pb.ModelReadyRequest(name="neg", version="1")).ready
        for _ in range(3):
            np.testing.assert_array_equal(infer(client, "neg"), -NEGATED)
    total = 3 * CONNECTIONS
    for client in service.clients:
        (stats,) = client.ModelStatistics(pb.ModelStatisticsRequest(name="neg")).model_stats
        assert stats.inference_stats.success.count == stats.inference_count == total
        assert sum(b.compute_infer.count for b in stats.batch_stats) == stats.execution_count
        assert time.time() - stats.last_inference / 1e3 < 60
    assert service.metric("nv_inference_request_success", model="neg") == total
    assert service.metric("nv_inference_count", model="neg") == total
    assert service.metric("wintergarden_batch_rows_count", model="neg") == stats.execution_count
    assert service.metric("wintergarden_model_versions", state="ready") == 1
    assert service.metric("wintergarden_processes_ready") == 2
    infer_path = f"/{SERVICE}/ModelInfer"
    assert service.metric("wintergarden_calls_accepted_total", method=infer_path) == total
    for number in ("0", "1"):
        assert service.metric("wintergarden_process_resident_memory_bytes", process=number) > 1e6
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/health") as answer:
        assert answer.status == 200
    # Errors pass as they are.
    with pytest.raises(grpc.RpcError) as caught:
        service.clients[0].ModelStatistics(pb.ModelStatisticsRequest(name="missing"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert "'missing'" in caught.value.details()


def test_a_new_version_answers_in_all_once_it_is_ready_in_one(world: Any, serve: Any) -> None:
    world.publish("m", SCALED % 1)
    service = serve()
    for version in (2, 3):
        world.publish("m", SCALED % version)
        first = service.clients[0]
        world.eventually(
            lambda v=version, c=first: (
                c.ModelReady(pb.ModelReadyRequest(name="m", version=str(v))).ready
            )
        )
        for answer in everybody(service.clients, lambda c, v=version: infer(c, "m", str(v))):
            np.testing.assert_array_equal(answer, NEGATED * version)
        for answer in everybody(service.clients, lambda c: infer(c, "m")):
            np.testing.assert_array_equal(answer, NEGATED * version)
        for states in everybody(service.clients, lambda c: index(c, ready=True)):
            assert set(states) == {("m", str(v)) for v in range(1, version + 1)}
    world.store.delete("m", 3)
    world.eventually(
        lambda: all(("m", "3") not in states for states in everybody(service.clients, index))
    )
    for answer in everybody(service.clients, lambda c: infer(c, "m")):
        np.testing.assert_array_equal(answer, NEGATED * 2)


def test_what_cannot_be_loaded_is_served_by_none(world: Any, serve: Any) -> None:
    world.publish("m", SCALED % 1)
    service = serve()
    world.publish("m", SCALED % 2, golden_shift=0.5)
    world.eventually(lambda: index(service.clients[0]).get(("m", "2"), ("",))[0] == "UNAVAILABLE")
    for states in everybody(service.clients, index):
        assert states["m", "1"] == ("READY", "")
        assert states["m", "2"][0] == "UNAVAILABLE"
        assert "golden" in states["m", "2"][1]
    for answer in everybody(service.clients, lambda c: infer(c, "m")):
        np.testing.assert_array_equal(answer, NEGATED)


def test_one_that_dies_is_replaced_and_the_others_go_on(world: Any, serve: Any) -> None:
    world.publish("neg", NEG)
    service = serve()
    victim, survivor = service.children()
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    # Connections to the dead one are made anew, and lead to the other.
    for client in service.connect():
        np.testing.assert_array_equal(infer(client, "neg"), -NEGATED)
        assert client.ServerReady(pb.ServerReadyRequest()).ready
    world.eventually(lambda: service.metric("wintergarden_processes_ready") == 2, 30)
    assert survivor.pid in [child.pid for child in service.children()]
    assert len(service.children()) == 2
    survivor.send_signal(signal.SIGKILL)
    survivor.wait(10)
    for client in service.connect():
        np.testing.assert_array_equal(infer(client, "neg"), -NEGATED)
    assert service.said("a process died and is started again")


def test_a_stop_drains_every_process(world: Any, serve: Any) -> None:
    world.publish("patient")
    service = serve()
    steps = np.array([[400_000]], np.float32)
    requests = [world.request("patient", {"x": steps}) for _ in service.clients]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = [
            pool.submit(client.ModelInfer, request, 60)
            for client, request in zip(service.clients, requests, strict=True)
        ]
        accepted = {"method": f"/{SERVICE}/ModelInfer"}
        world.eventually(
            lambda: service.metric("wintergarden_calls_accepted_total", **accepted) == CONNECTIONS
        )
        children = service.children()
        service.process.send_signal(signal.SIGTERM)
        for answer in answers:
            np.testing.assert_array_equal(world.arrays(answer.result())["y"], steps)
    assert service.process.wait(30) == 0
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize("sent", [signal.SIGKILL], ids=["SIGKILL"])
def test_no_process_outlives_the_parent(world: Any, serve: Any, sent: int) -> None:
    world.publish("neg", NEG)
    service = serve()
    children = service.children()
    folders = [
        json.loads(child.environ()["WINTERGARDEN_INFERENCE_PROCESS"])["place"]["folder"]
        for child in children
    ]
    service.process.send_signal(sent)
    gone, alive = psutil.wait_procs(children, timeout=15)
    assert (len(gone), alive) == (2, [])
    assert not any(Path(folder).exists() for folder in folders)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", service.port))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--store-uri", "ftp://models"], "allowed are /path, file:///path and s3://bucket"),
        (["--address", "unix:/tmp/never.sock"], "--processes 1"),
        (["--address", "TAKEN"], "Address already in use"),
    ],
)
def test_what_it_cannot_start_with_is_said_in_a_line(
    world: Any, flags: list[str], said: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = [flag.replace("TAKEN", f"127.0.0.1:{port}") for flag in flags]
        command = [sys.executable, "-m", "services.inference", "--processes", "2"]
        command += ["--store-uri", str(world.folder / "store"), "--metrics-address", "127.0.0.1:0"]
        ended = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
