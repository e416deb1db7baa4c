"""Reductions over axes that are known only when the graph runs, which may be none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from services.explanation.backprop import differentiate

X = np.float32([[0.5, -1.5, 2.0], [1.25, 2.0, -0.75]])
Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def product(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim)
    return x


REDUCTIONS: dict[str, Reduce] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceProd": product,
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
}


@pytest.mark.parametrize("operator", REDUCTIONS)
@pytest.mark.parametrize("axes", [(), (1,), (0, 1)])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("noop", [0, 1])
def test_gradients(operator: str, axes: tuple[int, ...], keepdims: int, noop: int) -> None:
    graph = helper.make_graph(
        [
            helper.make_node(
                operator, ["x", "axes"], ["y"], keepdims=keepdims, noop_with_empty_axes=noop
            )
        ],
        "case",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("axes", TensorProto.INT64, ["A"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    leaf = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    if axes or not noop:
        truth = REDUCTIONS[operator](leaf, axes or (0, 1), bool(keepdims))
    else:
        truth = leaf.abs() if operator == "ReduceL2" else leaf.clone()
    cotangent = np.asarray(np.linspace(1, 2, truth.numel()).reshape(truth.shape), np.float32)
    (expected,) = torch.autograd.grad((truth * torch.tensor(cotangent)).sum(), [leaf])
    session = onnxruntime.InferenceSession(differentiate(model, "x").SerializeToString())
    given = {"x": X, "axes": np.array(axes, np.int64), "y.cotangent": cotangent}
    y, gradient = session.run(None, given)
    np.testing.assert_allclose(y, truth.detach(), rtol=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
