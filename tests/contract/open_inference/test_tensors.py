"""Every tensor that ONNX has and the protocol can carry, raw and typed, over real sockets."""

from __future__ import annotations

import grpc
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors

TYPES = {
    "BOOL": TensorProto.BOOL,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
SHAPES = [(), (1,), (3,), (0,), (2, 3), (2, 0, 3), (1, 1, 1, 1, 2)]
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
ODD_NAME = "serving/x:0 ü 🌿\n'\""


def model(nodes, inputs, outputs, initializers=()) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    assert isinstance(made, onnx.ModelProto)
    return made.SerializeToString()


def tensor(name, onnx_type, shape):
    return helper.make_tensor_value_info(name, onnx_type, shape)


def identity(datatype, shape, name="x") -> bytes:
    dims = [f"d{i}" for i in range(len(shape))]
    return model(
        [helper.make_node("Identity", [name], ["y"])],
        [tensor(name, TYPES[datatype], dims)],
        [tensor("y", TYPES[datatype], dims)],
    )


def load(client, name, content, config="{}"):
    request = pb.RepositoryModelLoadRequest(model_name=name)
    request.parameters["config"].string_param = config
    request.parameters["file:1/model.onnx"].bytes_param = content
    client.RepositoryModelLoad(request)


def values(datatype, shape) -> np.ndarray:
    count = int(np.prod(shape))
    if datatype == "BYTES":
        texts = ["", "a", "Gärten 🌿", "nul\0l", " "] * count
        return np.array([t.encode() for t in texts[:count]], object).reshape(shape)
    dtype = tensors.dtype_of(datatype)
    if datatype == "BOOL":
        return (np.arange(count) % 2 == 0).reshape(shape)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        chosen = [limits.min, limits.max, 0, 1, 7, 100]
    else:
        chosen = [0.5, -0.0, np.inf, -np.inf, np.nan, 3.0]
    return np.array([chosen[i % 6] for i in range(count)], dtype).reshape(shape)


@pytest.fixture(scope="module")
def client(explicit):
    return explicit.client


@pytest.mark.parametrize("datatype", TYPES)
def test_every_datatype_in_every_shape(client, datatype):
    for shape in SHAPES:
        name = f"identity-{datatype}-{len(shape)}"
        load(client, name, identity(datatype, shape))
        given = values(datatype, shape)
        request = pb.ModelInferRequest(model_name=name)
        request.inputs.add(name="x", datatype=datatype, shape=shape)
        request.raw_input_contents.append(tensors.encode(given))
        answers = [client.ModelInfer(request)]
        if datatype in FIELDS:
            del request.raw_input_contents[:]
            getattr(request.inputs[0].contents, FIELDS[datatype]).extend(given.ravel().tolist())
            answers.append(client.ModelInfer(request))
        for answer in answers:
            (output,) = answer.outputs
            assert (output.datatype, tuple(output.shape)) == (datatype, shape)
            assert list(answer.raw_output_contents) == [tensors.encode(given)]
            assert not output.HasField("contents")


@pytest.mark.parametrize("content", [b"\xff", b"\xed\xa0\x80", b"a\xc3"])
def test_bytes_that_are_no_text_are_refused(client, content):
    """ONNX Runtime's strings are UTF-8 in Python."""
    load(client, "text", identity("BYTES", (1,)))
    request = pb.ModelInferRequest(model_name="text")
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(tensors.encode(np.array([content], object)))
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "input 'x': BYTES must be UTF-8 here" in caught.value.details()


def test_names_with_odd_characters(client):
    load(client, "odd", identity("FP32", (1,), ODD_NAME))
    assert client.infer("odd", {ODD_NAME: np.ones(1, np.float32)})["y"].tolist() == [1]


def test_a_hundred_inputs_and_outputs_and_any_of_them(client):
    names = [f"x{i}" for i in range(100)]
    content = model(
        [helper.make_node("Neg", [name], [name.replace("x", "y")]) for name in names],
        [tensor(name, TensorProto.FLOAT, ["n", 1]) for name in names],
        [tensor(name.replace("x", "y"), TensorProto.FLOAT, ["n", 1]) for name in names],
    )
    load(client, "many", content)
    feeds = {name: np.full((2, 1), i, np.float32) for i, name in enumerate(names)}
    answer = client.infer("many", feeds)
    assert [float(answer[f"y{i}"][1, 0]) for i in range(100)] == [-i for i in range(100)]
    request = pb.ModelInferRequest(model_name="many")
    for name in reversed(names):
        request.inputs.add(name=name, datatype="FP32", shape=[2, 1])
        request.raw_input_contents.append(feeds[name].tobytes())
    for name in ("y42", "y7"):
        request.outputs.add(name=name)
    answer = client.ModelInfer(request)
    assert [output.name for output in answer.outputs] == ["y42", "y7"]
    assert list(answer.raw_output_contents) == [(-feeds[n]).tobytes() for n in ("x42", "x7")]


def test_no_rows_at_all(client):
    content = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["n", 3])],
        [tensor("y", TensorProto.FLOAT, ["n", 3])],
    )
    load(client, "rows", content)
    for rows in (0, 2, 0):
        y = client.infer("rows", {"x": np.ones((rows, 3), np.float32)})["y"]
        assert y.tolist() == [[-1] * 3] * rows


def test_a_batch_of_a_fixed_size(client):
    content = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [4, 1])],
        [tensor("y", TensorProto.FLOAT, [4, 1])],
    )
    load(client, "four", content)
    x = np.arange(4, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(client.infer("four", {"x": x})["y"], -x)
    with pytest.raises(grpc.RpcError, match=r"shape \[3, 1\], needed is \[4, 1\]"):
        client.infer("four", {"x": x[:3]})


def test_optional_inputs(client):
    """A weight that may be given, where the configuration says so, and ONNX's own optional type."""
    content = model(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["n", 1]), tensor("w", TensorProto.FLOAT, [1])],
        [tensor("y", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [3.0])],
    )
    config = """{"max_batch_size": 0, "input": [
        {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 1]},
        {"name": "w", "data_type": "TYPE_FP32", "dims": [1], "optional": true}]}"""
    load(client, "weighted", content, config)
    x = np.array([[1], [2]], np.float32)
    assert client.infer("weighted", {"x": x})["y"].ravel().tolist() == [3, 6]
    w = np.array([10], np.float32)
    assert client.infer("weighted", {"x": x, "w": w})["y"].ravel().tolist() == [10, 20]
    assert client.infer("weighted", {"x": x})["y"].ravel().tolist() == [3, 6]

    optional = helper.make_optional_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    )
    content = model(
        [helper.make_node("OptionalHasElement", ["x"], ["y"])],
        [helper.make_value_info("x", optional)],
        [tensor("y", TensorProto.BOOL, [])],
    )
    load(client, "has", content)
    assert client.infer("has", {})["y"].tolist() is False
    assert client.infer("has", {"x": w})["y"].tolist() is True


@pytest.mark.parametrize("type_", ["sequence", "map", "optional sequence", "float8"])
def test_what_is_no_tensor_is_refused_when_it_is_loaded(client, type_):
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    if type_ == "map":
        node = helper.make_node(
            "ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
        )
        mapped = helper.make_map_type_proto(TensorProto.INT64, floats)
        graph = helper.make_graph(
            [node],
            "g",
            [tensor("x", TensorProto.FLOAT, ["n", 2])],
            [helper.make_value_info("y", helper.make_sequence_type_proto(mapped))],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        content = made.SerializeToString()
    elif type_ == "float8":
        content = model(
            [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)],
            [tensor("x", TensorProto.FLOAT, ["n"])],
            [tensor("y", TensorProto.FLOAT8E4M3FN, ["n"])],
        ).replace(b"\x10\x12", b"\x10\x13")  # opset 19 has the type
    else:
        sequence = helper.make_sequence_type_proto(floats)
        if type_ == "optional sequence":
            sequence = helper.make_optional_type_proto(sequence)
        content = model(
            [helper.make_node("Identity", ["x"], ["y"])],
            [helper.make_value_info("x", sequence)],
            [helper.make_value_info("y", sequence)],
        )
    with pytest.raises(grpc.RpcError) as caught:
        load(client, "refused", content)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "served are tensors of BOOL, INT8" in caught.value.details()


def test_classes_of_an_output(client):
    content = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["n", 3])],
        [tensor("y", TensorProto.FLOAT, ["n", 3])],
    )
    load(client, "classes", content)
    request = pb.ModelInferRequest(model_name="classes")
    request.inputs.add(name="x", datatype="FP32", shape=[2, 3])
    x = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    request.raw_input_contents.append(x.tobytes())
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    answer = client.ModelInfer(request)
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 2])
    assert tensors.decode(answer.raw_output_contents[0], "BYTES", [2, 2]).tolist() == [
        [b"-1.000000:0", b"-2.000000:1"],
        [b"-1.000000:2", b"-2.000000:1"],
    ]


def test_bfloat16_is_computed_as_bfloat16(client):
    content = model(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
        [tensor("x", TensorProto.FLOAT, ["n", 1])],
        [tensor("y", TensorProto.BFLOAT16, ["n", 1])],
    )
    load(client, "rounds", content)
    x = np.array([[1.00390625], [3.14159]], np.float32)
    y = client.infer("rounds", {"x": x})["y"]
    assert y.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(y, x.astype(ml_dtypes.bfloat16))
