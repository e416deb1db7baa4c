"""The inference service as processes under load, and clients as other processes.

What every test here shares: sizes, models whose answers tell where they come from, a server that
can be stopped and started, and what became of the requests. With WINTERGARDEN_SOAK=1 in the
environment, as `make soak` sets it, sizes are full and bounds are those of an idle machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import psutil
import pytest
from onnx import numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from wintergarden.store import ModelStore, open_store
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

INFER = methods("inference.GRPCInferenceService")["ModelInfer"]
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
IS_SOAK = os.environ.get("WINTERGARDEN_SOAK", "") == "1"
_START_S = 60.0


@pytest.fixture(scope="session")
def sizes() -> SimpleNamespace:
    """`sizes.swap.seconds` and so on."""
    with (HERE / "sizes.toml").open("rb") as file:
        tables = tomllib.load(file)["soak" if IS_SOAK else "test"]
    return SimpleNamespace(**{name: SimpleNamespace(**table) for name, table in tables.items()})


def telling(version: int, *, steps: int = 1, ballast_mb: int = 0) -> bytes:
    """A model that answers with the rows it was given and with its version, row by row.

    Args:
        version: what it answers in every row of the output `version`.
        steps: of a loop, which make a run long, whatever its rows; as many again as the largest
            number in a request says.
        ballast_mb: of weights, which every run multiplies with.
    """
    ballast = """wide = Mul (norm, ones)
           mixed = MatMul (wide, ballast)
           sum = ReduceMean <axes = [1], keepdims = 1> (mixed)"""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        telling (float[n, 4] x) => (float[n, 4] own, float[n, 1] version)
        <bool go = {{1}}, int64 steps = {{{steps}}}, float[1, 1] number = {{{version}}},
         float[1, 1] zero = {{0}}>
        {{ most = ReduceMax <keepdims = 0> (x)
           more = Cast <to = 7> (most)
           all = Add (steps, more)
           own = Loop (all, go, x) <body = body (int64 i, bool c, float[n, 4] s)
               => (bool d, float[n, 4] t) {{ d = Identity (c)  t = Identity (s) }}>
           norm = ReduceL2 <axes = [1], keepdims = 1> (x)
           {ballast if ballast_mb else "sum = Identity (norm)"}
           nothing = Mul (sum, zero)
           version = Add (nothing, number) }}"""
    )
    if ballast_mb:
        side = int((ballast_mb * 2**20 / 4) ** 0.5)
        weights = np.random.default_rng(version).standard_normal((side, side), np.float32)
        for name, array in (("ballast", weights), ("ones", np.ones((1, side), np.float32))):
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model.SerializeToString()


@dataclass
class Server:
    """`python -m services.inference`, which can be ended and started again at its address."""

    flags: list[str]
    log: Path
    address: str = "127.0.0.1:0"
    metrics_address: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it listens and every model has been tried."""
        start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "services.inference",
                    "--address",
                    self.address,
                    *self.flags,
                ],
                cwd=ROOT,
                env={**os.environ, "INFERENCE_METRICS_ADDRESS": self.metrics_address},
                stderr=log,
            )
        until = time.monotonic() + _START_S
        while True:
            told = self.log.read_bytes()[start:].decode()
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", told)
            if found and self.is_ready():
                self.address = found[1]
                return
            assert self._process.poll() is None, told
            assert time.monotonic() < until, f"it did not start: {told}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://{self.metrics_address}/health", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """As an operator would: SIGTERM, and a clean end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0, self.log.read_text()[-4000:]

    def kill(self) -> None:
        if self._process is not None:
            for child in (*self._children(), self._process):
                child.kill()
            self._process.wait()

    def rss_mb(self) -> float:
        """Resident memory of the process and its children."""
        assert self._process is not None
        tree = (psutil.Process(self._process.pid), *self._children())
        return sum(p.memory_info().rss for p in tree) / 2**20

    def serves(self, model: str, version: int) -> bool:
        return self.count("wintergarden_load_seconds", model=model, version=str(version)) > 0

    def answers(self, model: str) -> float:
        """Requests answered so far by the versions that are served now."""
        return self.count("nv_inference_request_success", model=model)

    def count(self, metric: str, **labels: str) -> float:
        """A metric of that name, summed over the labels that are left open."""
        url = f"http://{self.metrics_address}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        )

    def _children(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


class Load:
    """Running clients. What they saw is known when they have ended."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "client.py", json.dumps(plan)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> SimpleNamespace:
        """Nothing more is sent; what was sent is waited for."""
        self._process.terminate()
        return self.seen()

    def seen(self) -> SimpleNamespace:
        """Waits for the end."""
        told, _ = self._process.communicate(timeout=3600)
        assert self._process.returncode == 0
        return SimpleNamespace(**json.loads(told))

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Place:
    """A store, servers of it, and clients of those."""

    folder: Path
    record: Callable[[str, object], None]
    _stack: ExitStack = field(default_factory=ExitStack)

    telling = staticmethod(telling)

    def __post_init__(self) -> None:
        self.store: ModelStore = open_store(str(self.folder / "store"))

    def publish(self, model: str, content: bytes) -> int:
        return self.store.import_onnx(model, content).version

    def prepare(self, model: str, contents: Iterable[bytes]) -> Callable[[], int]:
        """Versions beside the store; each call brings the next one in, at no more than a rename.

        Publishing checks a model, which is work for whoever publishes, not for a server.
        """
        aside = open_store(str(self.folder / "aside"))
        versions = iter([aside.import_onnx(model, content).version for content in contents])

        def bring_in() -> int:
            version = next(versions)
            served = self.folder / "store" / "models" / model
            served.mkdir(parents=True, exist_ok=True)
            (self.folder / "aside" / "models" / model / str(version)).rename(served / str(version))
            return version

        return bring_in

    def serve(self, *flags: str) -> Server:
        """A server of the store that has loaded what is in it."""
        number = len(list(self.folder.glob("*.log")))
        always = ["--store-uri", str(self.folder / "store"), "--device", "cpu"]
        more = ["--poll-interval-s", "0.05"]
        return self.start(*always, *more, *flags, log=self.folder / f"{number}.log")

    def start(self, *flags: str, log: Path) -> Server:
        server = Server(list(flags), log)
        self._stack.callback(server.kill)
        server.start()
        return server

    def load(self, *servers: Server, model: str = "m", **plan: Any) -> Load:
        """Starts clients; see `client.Plan`."""
        load = Load({"targets": [s.address for s in servers], "model": model, **plan})
        self._stack.callback(load.kill)
        return load

    def crowd(self, server: Server, *, rate: float) -> Callable[[], object]:
        """Requests at a rate whose answers nobody looks at, by h2load, until it is told to leave.

        It takes a tenth of the processor time of a client that does: beside a server on the same
        machine, what it needs is missing there.
        """
        request = pb.ModelInferRequest(model_name="m")
        request.inputs.add(name="x", datatype="FP32", shape=(1, 4))
        request.raw_input_contents.append(bytes(16))
        message = request.SerializeToString()
        body = self.folder / "body"
        body.write_bytes(struct.pack(">BI", 0, len(message)) + message)  # a message of gRPC
        connections = 4
        each = ["-c", connections, "--rps", max(1, round(rate / connections)), "-m", 100]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        url = f"http://{server.address}{INFER.path}"
        command = ["h2load", "-D", 3600, "-d", body, *each, *headers, url]
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)

        def leave() -> None:
            process.kill()
            process.wait()

        self._stack.callback(leave)
        return leave

    @staticmethod
    def eventually(is_so: Callable[[], object], seconds: float = 60, every_s: float = 0.02) -> None:
        """Asking costs a server something, too: seldom where its latency is measured."""
        until = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < until, "it never came to be so"
            time.sleep(every_s)

    def report(self, **numbers: object) -> None:
        """For the reader of a soak, and for its record."""
        for name, value in numbers.items():
            self.record(name, json.dumps(value, default=vars))  # text: it may come from a worker
        print(json.dumps(numbers, default=vars))

    def close(self) -> None:
        self._stack.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def place(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Place]:
    made = Place(tmp_path, record_property)
    yield made
    made.close()


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)
