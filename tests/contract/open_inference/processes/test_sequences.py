"""A sequence has one state, whichever processes its requests come in by."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import onnx.parser
import pytest

from wintergarden.wire import open_inference_pb2 as pb

GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
    accumulator (int64[n, 1] x, int64[n, 1] past) => (int64[n, 1] y, int64[n, 1] now)
    <int64[1, 1] factor = {3}>
    { more = Mul (past, factor)  now = Add (more, x)  y = Identity (now) }"""
CONFIG = """max_batch_size: 8
    sequence_batching {
      max_sequence_idle_microseconds: 60000000
      oldest { max_candidate_sequences: 64 }
      state { input_name: "past" output_name: "now" data_type: TYPE_INT64 dims: 1 } }
    %s"""

pytestmark = pytest.mark.parametrize("world", ["native"], indirect=True)


@pytest.fixture
def accumulator(world: Any, serve: Any) -> Any:
    def start(*flags: str, more: str = "") -> Any:
        folder = world.folder / "store" / "accumulator"
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(CONFIG % more)
        (folder / "1" / "model.onnx").write_bytes(
            onnx.parser.parse_model(GRAPH).SerializeToString()
        )
        return serve("--repository-kind", "triton", *flags)

    return start


def request_of(x: int, sequence: int | str, *, start: bool = False, end: bool = False) -> Any:
    request = pb.ModelInferRequest(model_name="accumulator", id=f"{sequence}/{x}")
    request.inputs.add(name="x", datatype="INT64", shape=[1, 1])
    request.raw_input_contents.append(np.int64(x).tobytes())
    if isinstance(sequence, str):
        request.parameters["sequence_id"].string_param = sequence
    else:
        request.parameters["sequence_id"].int64_param = sequence
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return request


def value(answer: Any) -> int:
    return int(np.frombuffer(answer.raw_output_contents[0], np.int64)[0])


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_each_request_by_another_connection(accumulator: Any, transport: str) -> None:
    service = accumulator("--transport", transport)
    wrong = []

    def run(number: int) -> None:
        rng = np.random.default_rng(number)
        sequence: int | str = number + 1 if number % 2 else f"client {number}"
        for _ in range(3):
            expected = 0
            values = rng.integers(-50, 50, 8)
            for i, x in enumerate(values):
                client = service.clients[rng.integers(len(service.clients))]
                request = request_of(int(x), sequence, start=i == 0, end=i == len(values) - 1)
                expected = 3 * expected + int(x)
                answer = client.ModelInfer(request)
                if (value(answer), answer.id) != (expected, request.id):
                    wrong.append((number, i))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(run, range(16)))
    assert wrong == []
    (stats,) = service.clients[0].ModelStatistics(pb.ModelStatisticsRequest()).model_stats
    assert stats.inference_stats.success.count == 16 * 3 * 8


def test_in_order_within_a_stream_by_every_process(accumulator: Any) -> None:
    service = accumulator()

    def run(number: int) -> list[int]:
        requests = [request_of(x, f"s{number}", start=x == 0, end=x == 29) for x in range(30)]
        stream = service.clients[number].channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelStreamInferResponse.FromString,
        )
        answers = list(stream(iter(requests), timeout=30))
        assert [a.error_message for a in answers] == [""] * 30
        assert [a.infer_response.id for a in answers] == [r.id for r in requests]
        assert all(a.infer_response.parameters["triton_final_response"].bool_param for a in answers)
        return [value(a.infer_response) for a in answers]

    expected = [0]
    for x in range(1, 30):
        expected.append((3 * expected[-1] + x + 2**63) % 2**64 - 2**63)
    with ThreadPoolExecutor(16) as pool:
        for values in pool.map(run, range(16)):
            assert values == expected


def test_what_is_wrong_is_said_by_every_process(accumulator: Any) -> None:
    service = accumulator()

    def refusal(client: Any) -> tuple[Any, str]:
        with pytest.raises(grpc.RpcError) as caught:
            client.ModelInfer(request_of(1, 77))
        return caught.value.code(), caught.value.details()

    ((code, said),) = set(service.everybody(refusal))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "must specify the START flag" in said


def test_a_state_that_died_is_not_made_up(world: Any, accumulator: Any) -> None:
    service = accumulator()
    client = service.clients[0]
    assert value(client.ModelInfer(request_of(4, 9, start=True))) == 4
    for child in service.children():
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        world.eventually(lambda: service.metric("wintergarden_processes_ready") == 1, 10)
        world.eventually(lambda: service.metric("wintergarden_processes_ready") == 2, 30)
    for client in service.connect():
        with pytest.raises(grpc.RpcError) as caught:
            client.ModelInfer(request_of(5, 9))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for client in service.clients:
        assert value(client.ModelInfer(request_of(6, 9, start=True))) == 6


def test_decoupled_sequences_are_refused_with_the_cure(accumulator: Any) -> None:
    service = accumulator(more="model_transaction_policy { decoupled: true }")
    for states in service.everybody(lambda c: c.index()):
        state, reason = states["accumulator", "1"]
        assert state == "UNAVAILABLE"
        assert "--processes 1" in reason


def by_turns(service: Any, model: str, sequence: int) -> None:
    """Each request by the next connection."""
    expected = 0
    for x in range(16):
        request = request_of(x, sequence, start=x == 0, end=x == 15)
        request.model_name = model
        expected = 3 * expected + x
        answer = service.clients[x % len(service.clients)].ModelInfer(request)
        assert (value(answer), answer.model_name) == (expected, model)


def test_a_traced_sequence_is_the_same(world: Any, accumulator: Any) -> None:
    service = accumulator("--trace-directory", str(world.folder))
    change = pb.TraceSettingRequest()
    for name, setting in {"trace_level": "TIMESTAMPS", "trace_rate": "1"}.items():
        change.settings[name].value.append(setting)
    change.settings["trace_file"].value.append("trace")
    service.clients[0].TraceSetting(change)
    by_turns(service, "accumulator", 5)


def test_an_ensemble_with_a_sequence_in_it(world: Any, accumulator: Any) -> None:
    folder = world.folder / "store" / "whole"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        """platform: "ensemble" max_batch_size: 8
        input { name: "x" data_type: TYPE_INT64 dims: 1 }
        output { name: "y" data_type: TYPE_INT64 dims: 1 }
        ensemble_scheduling { step { model_name: "accumulator" model_version: -1
            input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } }"""
    )
    service = accumulator()
    by_turns(service, "whole", -6)
    by_turns(service, "accumulator", 6)
