"""Sends hostile requests to a server, and says what became of them as JSON.

    python tests/load/fuzz.py 127.0.0.1:8501 --requests 4000 --seed 1

The server must be in explicit model control with shared memory on; models and regions that the
requests bring about are taken away now and then. A request that meets anything but an answer or
a typed error is written to the standard error, so that it can be sent again:

    python tests/load/fuzz.py 127.0.0.1:8501 --again ModelInfer 0a06…
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx.parser

sys.path.insert(0, str(Path(__file__).parent))

from hostile import Made, Models, bent, corpus

from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

METHODS = methods("inference.GRPCInferenceService")
GRAPHS = {
    "sum": "sum (int64[n, 2] a, int64[n, 2] b) => (int64[n, 2] y) { y = Add (a, b) }",
    "text": "text (string[n, 1] x) => (string[n, 1] y) { y = Identity (x) }",
    "pair": "pair (float[2, 3] x) => (float[2, 3] y) { y = Neg (x) }",
    "rows": "rows (float[n, 2] x) => (float[n, 2] y) { y = Softmax <axis = -1> (x) }",
    "pick": "pick (float[n] x, int64[k] i) => (float[k] y) { y = Gather (x, i) }",
    "half": "half (bfloat16[n] x, bool[] flag) => (bfloat16[n] y) { y = Identity (x) }",
}
INPUTS: Models = {
    "sum": [("a", "INT64", (-1, 2)), ("b", "INT64", (-1, 2))],
    "text": [("x", "BYTES", (-1, 1))],
    "pair": [("x", "FP32", (2, 3))],
    "rows": [("x", "FP32", (-1, 2))],
    "pick": [("x", "FP32", (-1,)), ("i", "INT64", (-1,))],
    "half": [("x", "BF16", (-1,)), ("flag", "BOOL", ())],
}
# What a caller may be told. INTERNAL is a fault of the server, UNKNOWN one of its transport.
TYPED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,  # of a `timeout` among the parameters
}
_HUNG = "Deadline Exceeded"  # what the client says itself; the server has words of its own
_TIMEOUT_S = 60.0
_AT_ONCE = 32
_CORPUS = 4000
_HOUSEKEEPING = 500
_MAX_FAULTS = 20


def content_of(model: str) -> bytes:
    text = f'<ir_version: 8, opset_import: ["" : 17]>\n{GRAPHS[model]}'
    return bytes(onnx.parser.parse_model(text).SerializeToString())


@dataclass
class Fuzz:
    """One client and what it has seen."""

    channel: grpc.Channel
    codes: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _room: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))

    def load(self) -> None:
        for model in INPUTS:
            request = pb.RepositoryModelLoadRequest(model_name=model)
            request.parameters["config"].string_param = "{}"
            request.parameters["file:1/model.onnx"].bytes_param = content_of(model)
            self.call("RepositoryModelLoad", request)

    def send(self, requests: Iterator[Made]) -> None:
        """All of them, many at once; in between, right ones must be answered rightly."""
        for number, (method, content) in enumerate(requests):
            if number % _HOUSEKEEPING == 0:
                self.drain()
                self.tidy()
                self.check()
            if len(self.faults) >= _MAX_FAULTS:
                break
            self._room.acquire()
            if METHODS[method].is_client_streaming:
                self._stream(method, content)
            else:
                self._send(method, content)
        self.drain()
        self.tidy()
        self.check()

    def drain(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._room.acquire(timeout=2 * _TIMEOUT_S):
                raise SystemExit("requests have been under way for two minutes")
        self._room.release(_AT_ONCE)

    def tidy(self) -> None:
        """Takes away what came to be."""
        for model in self.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)).models:
            if model.name not in INPUTS:
                unload = pb.RepositoryModelUnloadRequest(model_name=model.name)
                self.call("RepositoryModelUnload", unload)
        self.call("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest())
        off = pb.TraceSettingRequest()
        off.settings["trace_level"].value.append("OFF")
        self.call("TraceSetting", off)
        log = pb.LogSettingsRequest()
        log.settings["log_verbose_level"].uint32_param = 0
        self.call("LogSettings", log)

    def check(self) -> None:
        """The server answers as if nothing had happened."""
        rng = np.random.default_rng(len(self.codes))
        a, b = rng.integers(-9, 9, (2, 3, 2))
        request = pb.ModelInferRequest(model_name="sum")
        for name, array in (("a", a), ("b", b)):
            request.inputs.add(name=name, datatype="INT64", shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        (raw,) = self.call("ModelInfer", request).raw_output_contents
        if raw != (a + b).tobytes():
            self.faults.append("a wrong answer to a right request")

    def call(self, method: str, request: Any) -> Any:
        """A request that must succeed."""
        known = METHODS[method]
        stub = self.channel.unary_unary(
            known.path,
            request_serializer=known.request.SerializeToString,
            response_deserializer=known.response.FromString,
        )
        return stub(request, timeout=_TIMEOUT_S)

    def _send(self, method: str, content: bytes) -> None:
        known = METHODS[method]
        stub = self.channel.unary_unary(known.path, response_deserializer=known.response.FromString)
        future = stub.future(content, timeout=_TIMEOUT_S)
        future.add_done_callback(lambda done: self._told(method, content, done))

    def _told(self, method: str, content: bytes, done: Any) -> None:
        self._record(method, content, done.code(), done.details() or "")
        self._room.release()

    def _stream(self, method: str, content: bytes) -> None:
        known = METHODS[method]
        stub = self.channel.stream_stream(
            known.path, response_deserializer=known.response.FromString
        )
        code, told = grpc.StatusCode.OK, ""
        try:
            for answer in stub(iter([content, content]), timeout=_TIMEOUT_S):
                if answer.error_message.startswith("internal error"):
                    code, told = grpc.StatusCode.INTERNAL, answer.error_message
        except grpc.RpcError as error:
            code, told = error.code(), error.details()
        self._record(method, content, code, told)
        self._room.release()

    def _record(self, method: str, content: bytes, code: grpc.StatusCode, told: str) -> None:
        self.codes[code.name] += 1
        self.methods[method] += 1
        is_silent = code is not grpc.StatusCode.OK and not told
        if code not in TYPED or is_silent or told == _HUNG or "Traceback" in told:
            self.faults.append(f"{code.name} {told}\n  --again {method} {content.hex()}")
            print(self.faults[-1], file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", nargs=2, metavar=("METHOD", "HEX"))
    options = parser.parse_args()
    with grpc.insecure_channel(options.address) as channel:
        fuzz = Fuzz(channel)
        fuzz.load()
        if options.again:
            method, content = options.again
            requests: Iterator[Made] = iter([(method, bytes.fromhex(content))])
        else:
            size = min(_CORPUS, max(1, options.requests // 4))
            made = corpus(INPUTS, content_of("pair"), options.seed, size)
            requests = islice(chain(made, bent(made, options.seed)), options.requests)
        started = time.monotonic()
        fuzz.send(requests)
    seen = {
        "requests": sum(fuzz.codes.values()),
        "seconds": time.monotonic() - started,
        "codes": dict(fuzz.codes.most_common()),
        "methods": dict(fuzz.methods.most_common()),
        "faults": fuzz.faults,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
