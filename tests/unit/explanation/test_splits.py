"""Elements gathered one by one, taken by one Split: the same numbers, and no zeros around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.explanation.backprop import differentiate


def gathered(
    indices: Sequence[int], length: int | str, axis: int, weights: Sequence[float]
) -> onnx.ModelProto:
    """y = Σ weight · x[index] over [N, length, 2], or [2, N, length] for axis -1."""
    shape = ["N", length, 2] if axis == 1 else [2, "N", length]
    nodes, constants = [], []
    for i, (index, weight) in enumerate(zip(indices, weights, strict=True)):
        constants.append(numpy_helper.from_array(np.array(index, np.int64), f"index_{i}"))
        constants.append(numpy_helper.from_array(np.array(weight, np.float32), f"weight_{i}"))
        nodes.append(helper.make_node("Gather", ["x", f"index_{i}"], [f"part_{i}"], axis=axis))
        nodes.append(helper.make_node("Mul", [f"part_{i}", f"weight_{i}"], [f"term_{i}"]))
    nodes.append(helper.make_node("Sum", [f"term_{i}" for i in range(len(indices))], ["y"]))
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(
    ("indices", "length", "is_one_split"),
    [
        ([0, 1, 2], 3, True),
        ([2, 0, 1], 3, True),
        ([0, -1, 1], 3, True),
        ([1, 0, 2, 1], 3, True),  # one of them twice
        ([0, 2], 3, False),
        ([0, 1], "L", False),
        ([0], 1, False),
    ],
)
@pytest.mark.parametrize("axis", [1, -1])
def test_a_whole_axis_is_one_split(
    indices: Sequence[int], length: int | str, is_one_split: bool, axis: int
) -> None:
    weights = [1.0 + i for i in range(len(indices))]
    derived = differentiate(gathered(indices, length, axis, weights), "x")
    assert is_one_split == ("Split" in {node.op_type for node in derived.graph.node})
    count = length if isinstance(length, int) else 2
    shape = (4, count, 2) if axis == 1 else (2, 4, count)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    slope, y = np.zeros_like(x), np.zeros_like(x.take(0, axis))
    for index, weight in zip(indices, weights, strict=True):
        slope[(slice(None), index) if axis == 1 else (..., index)] += weight
        y += weight * x.take(index, axis)
    given = {"x": x, "y.cotangent": np.ones_like(y)}
    answers = onnxruntime.InferenceSession(derived.SerializeToString()).run(None, given)
    for answer, right in zip(answers, (y, slope), strict=True):
        np.testing.assert_allclose(answer, right, rtol=1e-5)


def test_a_node_named_like_a_tensor_keeps_its_name() -> None:
    model = gathered([0, 1], 2, 1, [1.0, 2.0])
    for node in model.graph.node:
        node.name = node.output[0].replace("term", "part")
        node.name = node.name if node.op_type == "Mul" else ""
    derived = differentiate(model, "x")
    onnxruntime.InferenceSession(derived.SerializeToString())


def test_constants_of_what_is_written_in_another_way_are_forgotten() -> None:
    derived = differentiate(gathered([0, 1], 2, 1, [1.0, 2.0]), "x")
    read = {name for node in derived.graph.node for name in node.input}
    assert {t.name for t in derived.graph.initializer} <= read


@pytest.mark.parametrize("suffix", ["/axis", "/part"])
def test_what_is_written_takes_no_name_that_there_is(suffix: str) -> None:
    model = gathered([0, 1], 2, 1, [1.0, 2.0])
    model.graph.node[-1].input[0] = f"part_0{suffix}"
    model.graph.node[1].output[0] = f"part_0{suffix}"
    taken = {f"gathered/Split_{i}" for i in range(3)}
    for name in taken:
        model.graph.node.append(helper.make_node("Identity", ["y"], [name]))
    derived = differentiate(model, "x")
    given = {"x": np.ones((4, 2, 2), np.float32), "y.cotangent": np.ones((4, 2), np.float32)}
    (y, _) = onnxruntime.InferenceSession(derived.SerializeToString()).run(None, given)
    np.testing.assert_array_equal(y, 3)
