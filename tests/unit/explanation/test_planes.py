"""Convolutions over small planes, written as matrix products: the same numbers, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from services.explanation.backprop import differentiate
from services.explanation.backprop.planes import MIN_CHANNELS


def convolution(
    weight: np.ndarray, bias: np.ndarray, lengths: Any, **attributes: Any
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)],
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weight.shape[1], *lengths])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_equals_float64_autograd(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    padding, stride = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    dilation = data.draw(st.integers(1, padding))
    rng = np.random.default_rng(height + 4 * width)
    weight = rng.standard_normal((MIN_CHANNELS, MIN_CHANNELS + 1, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(MIN_CHANNELS).astype(np.float32)
    x = rng.standard_normal((2, MIN_CHANNELS + 1, height, width)).astype(np.float32)
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    if min(height, width) + 2 * padding < 2 * dilation + 1:
        return
    y = F.conv2d(
        leaf, torch.tensor(weight).double(), torch.tensor(bias).double(), stride, padding, dilation
    )  # fmt: skip
    cotangent = rng.standard_normal(y.shape).astype(np.float32)
    (truth,) = torch.autograd.grad((y * torch.tensor(cotangent)).sum(), leaf)
    model = convolution(
        weight, bias, [height, width],
        strides=[stride] * 2, pads=[padding] * 4, dilations=[dilation] * 2,
    )  # fmt: skip
    derived = differentiate(model, "x")
    pixels, seen = height * width, y[0, 0].numel()
    is_small = max(pixels, seen) <= 16 and (stride == 1 or pixels * seen <= 18)
    assert is_small == ("Gemm" in {node.op_type for node in derived.graph.node})
    answers = onnxruntime.InferenceSession(derived.SerializeToString()).run(
        ["y", "x.gradient"], {"x": x, "y.cotangent": cotangent}
    )
    for answer, right in zip(answers, (y.detach(), truth), strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-5 * right.abs().max().item())


def test_what_gains_nothing_stays_a_convolution() -> None:
    """Few channels, groups, large planes, planes of unknown size."""
    many = np.ones((MIN_CHANNELS, MIN_CHANNELS, 3, 3), np.float32)
    cases: list[tuple[Any, Any, int]] = [
        (many[:8], [2, 2], 1),
        (many[:, :16], [2, 2], 2),
        (many, [4, 5], 1),
        (many, ["H", "W"], 1),
    ]
    for weight, lengths, group in cases:
        bias = np.zeros(len(weight), np.float32)
        model = convolution(
            weight, bias, lengths if group == 1 else [2, 2], pads=[1] * 4, group=group
        )
        if group > 1:
            model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = group * weight.shape[1]
        derived = differentiate(model, "x")
        assert "Gemm" not in {node.op_type for node in derived.graph.node}
