from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from wintergarden.client import inference
from wintergarden.client.call import Call, Flow
from wintergarden.errors import DataLoss, DeadlineExceeded, InvalidTensor
from wintergarden.wire import models_pb2
from wintergarden.wire import open_inference_pb2 as pb


def metadata_of(*inputs: tuple[str, str]) -> pb.ModelMetadataResponse:
    described = pb.ModelMetadataResponse(name="m")
    for name, datatype in inputs:
        described.inputs.add(name=name, datatype=datatype, shape=[-1, 2])
    return described


def finish(flow: Flow[Any], response: Any) -> Any:
    with pytest.raises(StopIteration) as stop:
        flow.send(response)
    return stop.value.value


def test_named_arrays_travel_raw_and_as_they_are() -> None:
    x = np.arange(4, dtype=np.int64).reshape(2, 2)
    call = next(inference.infer("m", {"x": x}, version=3, outputs=["y"]))
    assert (call.request.model_name, call.request.model_version) == ("m", "3")
    assert call.request.inputs[0].datatype == "INT64"
    assert list(call.request.inputs[0].shape) == [2, 2]
    assert call.request.raw_input_contents[0] == x.tobytes()
    assert [out.name for out in call.request.outputs] == ["y"]


def test_the_latest_version_is_an_empty_string_on_the_wire() -> None:
    assert next(inference.infer("m", {"x": np.zeros(1)})).request.model_version == ""


@pytest.mark.parametrize("value", [[[1, 2]], [[1.0, 2.0]], np.ones((1, 2), np.float64)])
def test_a_bare_array_takes_the_only_inputs_name_and_datatype(value: Any) -> None:
    flow = inference.infer("m", value)
    step = next(flow)
    assert isinstance(step, Call) and step.is_memorable
    call = flow.send(metadata_of(("image", "FP32")))
    assert call.request.inputs[0].name == "image"
    assert call.request.inputs[0].datatype == "FP32"
    assert len(call.request.raw_input_contents[0]) == 8


@pytest.mark.parametrize("value", ["the cat", ["the cat"], ("the cat",), np.array(["the cat"])])
def test_a_text_becomes_the_ids_of_the_models_vocabulary(value: Any) -> None:
    flow = inference.infer("m", value, version=2)
    step = next(flow)
    assert isinstance(step.request, models_pb2.DescribeModelRequest)
    assert (step.request.name, step.request.version) == ("m", 2)
    manifest = {
        "inputs": [{"name": "ids", "datatype": "INT64", "shape": [-1, -1]}],
        "vocabulary": {"level": "word", "tokens": ["the", "cat"], "max_tokens": 8},
    }
    described = models_pb2.DescribeModelResponse()
    described.model.manifest_json = json.dumps(manifest)
    flow.send(described)
    call = flow.send(metadata_of(("ids", "INT64")))
    assert call.request.raw_input_contents[0] == np.int64([[2, 3]]).tobytes()


def test_a_bare_array_is_not_squeezed_into_a_smaller_kind() -> None:
    flow = inference.infer("m", [[0.5, 1.5]])
    next(flow)
    with pytest.raises(InvalidTensor, match="takes INT64, got an array of float64"):
        flow.send(metadata_of(("ids", "INT64")))


def test_a_bare_array_becomes_bfloat16_where_the_model_takes_it() -> None:
    flow = inference.infer("m", [[0.5, 1.5]])
    next(flow)
    call = flow.send(metadata_of(("x", "BF16")))
    assert call.request.inputs[0].datatype == "BF16"
    assert call.request.raw_input_contents[0] == bytes.fromhex("003fc03f")


@pytest.mark.parametrize("is_bare", [True, False])
def test_bytes_are_sent_with_their_last_nulls(is_bare: bool) -> None:
    value = [b"ab\0"]
    flow = inference.infer("m", value if is_bare else {"x": value})
    call = next(flow)
    if is_bare:
        call = flow.send(metadata_of(("x", "BYTES")))
    assert call.request.inputs[0].datatype == "BYTES"
    assert call.request.raw_input_contents[0] == b"\3\0\0\0ab\0"


def test_the_time_limit_is_for_all_calls_together(server: Any, ask: Any) -> None:
    def slow(request: Any, context: Any) -> Any:
        time.sleep(0.3)
        return metadata_of(("x", "FP32"))

    limits: list[float] = []

    def answer(request: Any, context: Any) -> Any:
        limits.append(context.time_remaining())
        return pb.ModelInferResponse()

    server.on("ModelMetadata", slow)
    server.on("ModelInfer", answer)
    ask(lambda client: client.infer("m", [[1.0]], timeout_s=5))
    assert 3 < limits[0] < 4.8
    with pytest.raises(DeadlineExceeded):
        ask(lambda client: client.infer("m", [[1.0]], timeout_s=0.1))
    assert len(limits) == 1


def test_waiting_for_a_model_counts_the_time_of_its_questions_too(server: Any, ask: Any) -> None:
    def slow(request: Any, context: Any) -> Any:
        time.sleep(0.2)
        return pb.ModelReadyResponse(ready=False)

    asked: list[Any] = []
    server.on("ModelReady", lambda request, context: asked.append(1) or slow(request, context))
    server.on("RepositoryIndex", lambda request, context: pb.RepositoryIndexResponse())
    with pytest.raises(DeadlineExceeded, match="not served after"):
        ask(lambda client: client.wait_until_served("m", timeout_s=0.5))
    assert len(asked) <= 3


def test_a_bare_array_for_several_inputs_names_them() -> None:
    flow = inference.infer("m", [[1.0]])
    next(flow)
    with pytest.raises(InvalidTensor, match=r"2 inputs \(a, b\)"):
        flow.send(metadata_of(("a", "FP32"), ("b", "FP32")))


def test_outputs_are_read_from_raw_and_from_typed_contents() -> None:
    raw = pb.ModelInferResponse(raw_output_contents=[np.float32([1, 2]).tobytes()])
    raw.outputs.add(name="y", datatype="FP32", shape=[2])
    typed = pb.ModelInferResponse()
    typed.outputs.add(name="y", datatype="FP32", shape=[2]).contents.fp32_contents.extend([1, 2])
    for response in (raw, typed):
        flow = inference.infer("m", {"x": np.zeros(1)})
        next(flow)
        np.testing.assert_array_equal(finish(flow, response)["y"], np.float32([1, 2]))


def test_an_answer_that_contradicts_itself_is_refused() -> None:
    response = pb.ModelInferResponse(raw_output_contents=[b"", b""])
    response.outputs.add(name="y", datatype="FP32", shape=[0])
    flow = inference.infer("m", {"x": np.zeros(1)})
    next(flow)
    with pytest.raises(DataLoss, match="1 outputs and carries 2"):
        flow.send(response)
