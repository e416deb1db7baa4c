"""Every kind of tensor that the protocol can carry, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from wintergarden.errors import InvalidTensor, Unsupported
from wintergarden.runtime import RuntimeOptions, Session, TensorSpec, open_session

Build = Callable[..., bytes]
CPU = RuntimeOptions(device="cpu", intra_op_threads=1)
BOUND = RuntimeOptions(device="cpu", intra_op_threads=1, is_bound=True)

DTYPES = {
    "BOOL": (TensorProto.BOOL, np.dtype("?")),
    "INT8": (TensorProto.INT8, np.dtype("i1")),
    "INT16": (TensorProto.INT16, np.dtype("<i2")),
    "INT32": (TensorProto.INT32, np.dtype("<i4")),
    "INT64": (TensorProto.INT64, np.dtype("<i8")),
    "UINT8": (TensorProto.UINT8, np.dtype("u1")),
    "UINT16": (TensorProto.UINT16, np.dtype("<u2")),
    "UINT32": (TensorProto.UINT32, np.dtype("<u4")),
    "UINT64": (TensorProto.UINT64, np.dtype("<u8")),
    "FP16": (TensorProto.FLOAT16, np.dtype("<f2")),
    "BF16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
    "FP32": (TensorProto.FLOAT, np.dtype("<f4")),
    "FP64": (TensorProto.DOUBLE, np.dtype("<f8")),
}


@pytest.mark.parametrize("options", [CPU, BOUND], ids=["run", "bound"])
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("datatype", DTYPES)
def test_numbers_of_every_type_and_shape(
    build: Build, datatype: str, shape: tuple[int, ...], options: RuntimeOptions
) -> None:
    onnx_type, dtype = DTYPES[datatype]
    dims = [f"d{i}" for i in range(len(shape))]
    session = open_session(build("Identity", {"x": (onnx_type, dims)}, (onnx_type, dims)), options)
    spec = TensorSpec("x", datatype, (-1,) * len(shape))
    assert session.inputs == (spec,)
    raw = np.random.default_rng(0).bytes(int(np.prod(shape)) * dtype.itemsize)
    x = np.frombuffer(raw, dtype).reshape(shape)
    if datatype == "BOOL":
        x = np.asarray(x.view(np.uint8) % 2, bool)
    (y,) = session.run({"x": x})
    assert y.dtype == dtype
    assert y.shape == shape
    assert y.tobytes() == x.tobytes()


BFLOAT16 = TensorProto.BFLOAT16


def test_bfloat16_beside_other_types() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["half"], ["single"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["half", "half"], ["twice"], axis=0),
            helper.make_node("Identity", ["flag"], ["same"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("half", BFLOAT16, ["N"]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("single", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("twice", BFLOAT16, ["M"]),
            helper.make_tensor_value_info("same", TensorProto.BOOL, []),
        ],
    )
    session = open_session(_model(graph), CPU)
    half = np.array([1.5, -2, 0], ml_dtypes.bfloat16)[::-1]
    single, twice, same = session.run({"half": half, "flag": np.array(True)})
    assert single.tolist() == [0, -2, 1.5]
    assert twice.tolist() == [0, -2, 1.5] * 2
    assert same.item() is True
    assert session.run({"half": half, "flag": same}, ["twice"])[0].dtype == twice.dtype
    for wrong in ({}, {"half": half.astype(np.float32), "flag": same}, {"half": half[None]}):
        with pytest.raises(InvalidTensor):
            session.run(wrong)


@pytest.mark.parametrize("is_given", [False, True])
def test_bfloat16_beside_texts(is_given: bool) -> None:
    number = BFLOAT16 if is_given else TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["half"], ["y"], to=number),
            helper.make_node("Identity", ["text"], ["said"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("half", BFLOAT16, ["N"]),
            helper.make_tensor_value_info("text", TensorProto.STRING, ["M"]),
        ],
        [
            helper.make_tensor_value_info("y", number, ["N"]),
            helper.make_tensor_value_info("said", TensorProto.STRING, ["M"]),
        ],
    )
    if is_given:
        with pytest.raises(Unsupported, match="'text' is BYTES beside an output of BF16"):
            open_session(_model(graph), CPU)
        return
    session = open_session(_model(graph), CPU)
    half = np.array([1.5], ml_dtypes.bfloat16)
    y, said = session.run({"half": half, "text": np.array([b"a", "é"], object)})
    assert y.tolist() == [1.5]
    assert said.tolist() == ["a", "é"]


def test_texts_are_unicode() -> None:
    """ONNX Runtime's Python side takes nothing else, and ends texts at no zero byte."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["N", "M"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["N", "M"])],
    )
    session = open_session(_model(graph), CPU)
    texts = np.array([[b"", b"a\0b"], ["\U0001f33f".encode(), b" "]], object)
    (y,) = session.run({"x": texts})
    assert [text.encode() for text in y.ravel()] == texts.ravel().tolist()
    assert session.run({"x": texts[:0]})[0].shape == (0, 2)
    for hostile in (b"\xff", b"\xed\xa0\x80"):
        with pytest.raises(InvalidTensor, match="input 'x': BYTES must be UTF-8 here"):
            session.run({"x": np.array([[hostile]], object)})


def optional_of(inner: onnx.TypeProto) -> Session:
    graph = helper.make_graph(
        [helper.make_node("OptionalHasElement", ["x"], ["y"])],
        "g",
        [helper.make_value_info("x", helper.make_optional_type_proto(inner))],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, [])],
    )
    return open_session(_model(graph), CPU)


def test_an_optional_input_may_be_left_out() -> None:
    session = optional_of(helper.make_tensor_type_proto(TensorProto.FLOAT, ["N"]))
    assert session.inputs == (TensorSpec("x", "FP32", (-1,), is_optional=True),)
    assert not session.run({})[0]
    assert session.run({"x": np.ones(2, np.float32)})[0]


def test_an_optional_sequence_is_no_tensor() -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N"])
    with pytest.raises(Unsupported, match=r"input 'x' is optional\(seq\(tensor\(float\)\)\)"):
        optional_of(helper.make_sequence_type_proto(tensor))


@pytest.mark.parametrize("options", [CPU, BOUND], ids=["run", "bound"])
def test_weights_may_be_given_like_inputs(options: RuntimeOptions) -> None:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [3.0])],
    )
    session = open_session(_model(graph), options)
    assert [spec.name for spec in session.inputs] == ["x"]
    assert session.optional_inputs == (TensorSpec("w", "FP32", (1,), is_optional=True),)
    x = np.array([1, 2], np.float32)
    assert session.run({"x": x})[0].tolist() == [3, 6]
    assert session.run({"x": x, "w": x[:1]})[0].tolist() == [1, 2]
    assert session.run({"x": x})[0].tolist() == [3, 6]


@pytest.mark.parametrize(
    "name", ["a b", "a/b:0", "ü 🌿", "a'b\"c", "-1", "x" * 3000, "a\nb", "serving_default_x:0"]
)
def test_names_may_have_odd_characters(build: Build, name: str) -> None:
    session = open_session(build("Neg", {name: (TensorProto.FLOAT, ["N"])}), CPU)
    assert session.inputs[0].name == name
    assert session.run({name: np.ones(1, np.float32)})[0].tolist() == [-1]


@pytest.mark.parametrize("type_", ["FLOAT8E4M3FN", "FLOAT8E5M2"])
def test_a_type_without_a_name_on_the_wire_is_refused(type_: str) -> None:
    number = getattr(TensorProto, type_)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", number, ["N"])],
        [helper.make_tensor_value_info("y", number, ["N"])],
    )
    with pytest.raises(Unsupported, match=r"input 'x' is tensor\(float8\w+\); served are tensors"):
        open_session(_model(graph, opset=23, ir_version=11), CPU)


def _model(graph: onnx.GraphProto, opset: int = 22, ir_version: int = 10) -> bytes:
    opsets = [helper.make_opsetid("", opset)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    return bytes(content.SerializeToString())
