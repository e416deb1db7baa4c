"""Mixed precision on graphs small enough to see through."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from trainer.export.half_precision import to_half_precision
from wintergarden.errors import Unsupported
from wintergarden.runtime import RuntimeOptions, open_session

HEADER = '<ir_version: 10, opset_import: ["" : 20]> g '


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEADER + text)


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    return model


def run(model: onnx.ModelProto, **feeds: Any) -> list[Any]:
    session = open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))
    return session.run(feeds)


def datatypes(model: onnx.ModelProto) -> dict[str, str]:
    """Of what each operator answers, by operator."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    return {
        node.op_type: onnx.TensorProto.DataType.Name(types[node.output[0]])
        for node in inferred.graph.node
        if node.op_type != "Cast"
    }


SMALL = """(float[n, 2] x) => (float[n, 2] y, float[n, 2] z)
    <float[2, 2] w = {0.5, -0.25, 2.0, 1.0}, float[2] b = {1.0, -1.0}, float k = {1000.0}> {
        standard = Div(x, k)
        product = MatMul(standard, w)
        sum = Add(product, b)
        y = Relu(sum)
        z = Softmax(y)
    }"""


def test_what_comes_before_the_weights_and_exponentials_stay_in_float32() -> None:
    model = named(parse(SMALL))
    half = to_half_precision(model)
    assert datatypes(half) == {
        "Div": "FLOAT",
        "MatMul": "FLOAT16",
        "Add": "FLOAT16",
        "Relu": "FLOAT16",
        "Softmax": "FLOAT",
    }
    x = np.array([[1e5, -7e4], [3.0, 0.0]], np.float32)  # beyond float16
    for expected, got in zip(run(model, x=x), run(half, x=x), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)


def test_weights_shared_with_what_stays_keep_both_forms() -> None:
    model = named(
        parse(
            """(float[2, 2] x) => (float[2, 2] y)
            <float[2, 2] w = {1.0, 2.0, 3.0, 4.0}> {
                a = MatMul(x, w)
                e = Exp(w)
                y = Mul(a, e)
            }"""
        )
    )
    half = to_half_precision(model)
    kinds = sorted(weight.data_type for weight in half.graph.initializer)
    assert kinds == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16]
    x = np.eye(2, dtype=np.float32)
    np.testing.assert_allclose(run(half, x=x)[0], run(model, x=x)[0], rtol=1e-2)


def test_an_output_that_is_used_again_inside_keeps_its_name() -> None:
    half = to_half_precision(named(parse(SMALL)))
    assert [output.name for output in half.graph.output] == ["y", "z"]
    assert len({node.name for node in half.graph.node}) == len(half.graph.node)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(float[n] x) => (float[n] y) { y = Relu(x) }", "no operator to compute in float16"),
        (
            "(float[n, 1] x) => (float[n, 1] y) <float[1, 1] w = {7e4}> { y = MatMul(x, w) }",
            "weight 'w' reaches 7e.04; float16 ends at 65504",
        ),
    ],
)
def test_what_cannot_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        to_half_precision(named(parse(text)))


def test_branches_are_refused() -> None:
    model = named(
        parse(
            """(float[1, 1] x, bool c) => (float[1, 1] y) <float[1, 1] w = {2.0}> {
                a = MatMul(x, w)
                y = If (c) <
                    then_branch = t () => (float[1, 1] r) { r = Identity(a) },
                    else_branch = f () => (float[1, 1] s) { s = Neg(a) }
                >
            }"""
        )
    )
    with pytest.raises(Unsupported, match="loops and branches stay in float32: If"):
        to_half_precision(model)
