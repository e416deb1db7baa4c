"""The inference service as its clients meet it: real models in a real store, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import onnx.parser
import pytest
from prometheus_client import generate_latest

from services.inference.app import App, create_app
from services.inference.settings import InferenceSettings
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.store import ManifestFields, ModelStore, TensorInfo, golden, open_store
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.wire.pool import methods

SERVICE = "inference.GRPCInferenceService"
HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
GRAPHS = {
    # Two outputs, like every classifier of ours.
    "classifier": """classifier (float[n, 4] x) => (float[n, 3] logits, float[n, 3] probabilities)
        <float[4, 3] w = {1, 2, 3, -1, 0, 1, 0.5, 0.25, 0.125, 3, -2, 1}>
        { logits = MatMul (x, w)  probabilities = Softmax <axis = -1> (logits) }""",
    "sum": """sum (int64[n, 2] a, int64[n, 2] b) => (int64[n, 2] y) { y = Add (a, b) }""",
    "echo": "echo (string[n, 1] x) => (string[n, 1] y) { y = Identity (x) }",
    "centred": """centred (float[n, 1] x) => (float[n, 1] y)
        { m = ReduceMean <axes = [0]> (x)  y = Sub (x, m) }""",
    "pair": "pair (float[2, 3] x) => (float[2, 3] y) { y = Neg (x) }",
    # Takes as many steps as the largest number it is given: half a million in about 0.3 s.
    "patient": """patient (float[n, 1] x) => (float[n, 1] y) <bool go = {1}>
        { most = ReduceMax <keepdims = 0> (x)
          steps = Cast <to = 7> (most)
          y = Loop (steps, go, x) <body = body (int64 i, bool c, float[n, 1] s)
              => (bool d, float[n, 1] t) { d = Identity (c)  t = Identity (s) }> }""",
}


def build(graph: str) -> bytes:
    model = onnx.parser.parse_model(HEADER + GRAPHS.get(graph, graph))
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Stubs:
    """One method per call of the protocol: `client.ModelInfer(request)`."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        for name, method in methods(SERVICE).items():
            kind = channel.stream_stream if method.is_client_streaming else channel.unary_unary
            stub = kind(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            setattr(self, name, stub)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def infer(
        self, model: str, inputs: Mapping[str, np.ndarray], version: str = "", **options: Any
    ) -> dict[str, np.ndarray]:
        """Arrays in, arrays out, by name; everything raw."""
        response = self.ModelInfer(infer_request(model, inputs, version), **options)
        assert response.model_name == model
        return arrays_of(response)


def infer_request(
    model: str, inputs: Mapping[str, np.ndarray], version: str = ""
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=tensors.datatype_of(array.dtype), shape=array.shape)
        request.raw_input_contents.append(tensors.encode(array))
    return request


def arrays_of(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    assert len(response.outputs) == len(response.raw_output_contents)
    return {
        output.name: tensors.decode(raw, output.datatype, output.shape, output.name, "output")
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def eventually(is_so: Callable[[], object], seconds: float = 10) -> None:
    """Waits until something is so; errors while waiting count as not yet."""
    until = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except grpc.RpcError:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.02)


@dataclass
class World:
    """A store, what is published in it, and the services that serve it."""

    folder: Path
    transport: str
    _stack: ExitStack = field(default_factory=ExitStack)

    request = staticmethod(infer_request)
    arrays = staticmethod(arrays_of)
    eventually = staticmethod(eventually)

    def __post_init__(self) -> None:
        self.store: ModelStore = open_store(str(self.folder / "store"))

    def publish(
        self, model: str, graph: str = "", *, golden_shift: float | None = None, seed: int = 0
    ) -> int:
        """Publishes a graph; with `golden_shift`, beside golden outputs that are off by so much."""
        content = build(graph or model)
        if golden_shift is None:
            return self.store.import_onnx(model, content).version
        session = open_session(content, RuntimeOptions(device="cpu", intra_op_threads=1))
        rng = np.random.default_rng(seed)
        feeds = {s.name: rng.random((3, *s.shape[1:]), np.float32) for s in session.inputs}
        results = session.run(feeds)
        outputs = {
            s.name: y + np.float32(golden_shift)
            for s, y in zip(session.outputs, results, strict=True)
        }
        with self.store.publish(model) as draft:
            draft.write("model.onnx", content)
            draft.write("golden.npz", golden.write_golden(feeds, outputs))
            draft.commit(
                ManifestFields(
                    architecture="test",
                    task="unknown",
                    inputs=_infos(session.inputs),
                    outputs=_infos(session.outputs),
                )
            )
        return draft.version

    def file(self, model: str, version: int, name: str = "model.onnx") -> Path:
        """A file of a published version, made writable for whoever wants to spoil it."""
        (path,) = (
            p
            for p in (self.folder / "store").rglob(name)
            if p.parent.name == str(version) and p.parent.parent.name == model
        )
        path.parent.chmod(0o755)
        path.chmod(0o644)
        return path

    def session(self, model: str) -> Session:
        """ONNX Runtime on the same file in this process."""
        return open_session(build(model), RuntimeOptions(device="cpu", intra_op_threads=1))

    def serve(self, **settings: Any) -> tuple[App, Stubs]:
        """A service that has read the store, and a client of it."""
        defaults = {
            "address": "127.0.0.1:0",
            "store_uri": str(self.folder / "store"),
            "transport": self.transport,
            "device": "cpu",
            "poll_interval_s": 0.05,
        }
        app = create_app(InferenceSettings(**(defaults | settings)))
        app.start()
        self._stack.callback(app.stop, 0)
        target = f"127.0.0.1:{app.server.ports[0]}"
        channel = self._stack.enter_context(
            grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)])
        )
        client = Stubs(channel)
        eventually(lambda: client.ServerReady(pb.ServerReadyRequest()).ready)
        return app, client

    @staticmethod
    def integers(values: Any) -> np.ndarray:
        return np.array(values, np.int64)

    @staticmethod
    def metrics(app: App) -> str:
        return generate_latest(app.metrics).decode()

    def close(self) -> None:
        self._stack.close()


def _infos(specs: Any) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(name=s.name, datatype=s.datatype, shape=s.shape) for s in specs)


@pytest.fixture(params=["native", "grpcio"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty store and no service, for tests that change either."""
    made = World(tmp_path, request.param)
    yield made
    made.close()


@dataclass(frozen=True)
class Served:
    """A service with every graph loaded, which tests only read."""

    world: World
    app: App
    client: Stubs


@pytest.fixture(scope="module", params=["native", "grpcio"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    world = World(tmp_path_factory.mktemp("served"), request.param)
    for model in GRAPHS:
        world.publish(model)
    app, client = world.serve()
    yield Served(world, app, client)
    world.close()


@pytest.fixture(scope="module", params=["native", "grpcio"])
def explicit(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A service that loads what it is asked for, with the classifier and with shared memory."""
    world = World(tmp_path_factory.mktemp("explicit"), request.param)
    world.publish("classifier")
    app, client = world.serve(
        model_control="explicit", load_models="classifier", system_shared_memory=True
    )
    yield Served(world, app, client)
    world.close()
