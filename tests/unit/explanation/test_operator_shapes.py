"""Backward rules over drawn shapes: broadcasting, windows, slices; PyTorch's float64 is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from services.explanation.backprop import differentiate

few = settings(
    max_examples=30, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip


def values(*shape: int) -> np.ndarray:
    """No two alike, none near zero."""
    count = int(np.prod(shape))
    drawn = np.random.default_rng(count).permutation(np.linspace(0.3, 2, count))
    return np.asarray(drawn.reshape(shape), np.float32)


def check(
    operator: str,
    inputs: dict[str, np.ndarray],
    truth: Tensor,
    leaves: list[Tensor],
    *,
    is_dynamic: bool,
    constants: dict[str, np.ndarray] | None = None,
    **attributes: Any,
) -> None:
    """One node against autograd of `truth` by `leaves`, which stand for `inputs` in order."""
    fixed = constants or {}
    node = helper.make_node(operator, [*inputs, *fixed], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [
            helper.make_tensor_value_info(
                n, TensorProto.FLOAT, [f"{n}{i}" for i in range(a.ndim)] if is_dynamic else a.shape
            )
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in fixed.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model)
    derived = differentiate(model, list(inputs))
    cotangent = values(*truth.shape) if truth.ndim else np.asarray(1.5, np.float32)
    session = onnxruntime.InferenceSession(derived.SerializeToString())
    names = [f"{n}.gradient" for n in inputs]
    answers = session.run(names, {**inputs, "y.cotangent": cotangent})
    expected = torch.autograd.grad((truth * torch.tensor(cotangent)).sum(), leaves)
    for answer, right in zip(answers, expected, strict=True):
        assert answer.shape == tuple(right.shape)
        scale = max(1e-3, right.abs().max().item()) if right.numel() else 1
        np.testing.assert_allclose(answer, right, atol=1e-5 * scale)


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


ARITHMETIC = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div,
              "Pow": torch.pow}  # fmt: skip


@few
@given(
    operator=st.sampled_from(sorted(ARITHMETIC)),
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4),
    is_dynamic=st.booleans(),
)
def test_broadcasting(operator: str, shapes: Any, is_dynamic: bool) -> None:
    a, b = (values(*shape) for shape in shapes.input_shapes)
    x, y = leaf(a), leaf(b)
    truth = ARITHMETIC[operator](x, y)
    check(operator, {"a": a, "b": b}, truth, [x, y], is_dynamic=is_dynamic)


@few
@given(
    shapes=mutually_broadcastable_shapes(
        signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, min_side=1, max_side=4
    ),
    is_dynamic=st.booleans(),
)
def test_matrix_products(shapes: Any, is_dynamic: bool) -> None:
    a, b = (values(*shape) for shape in shapes.input_shapes)
    x, y = leaf(a), leaf(b)
    check("MatMul", {"a": a, "b": b}, x @ y, [x, y], is_dynamic=is_dynamic)


@few
@given(data=st.data())
def test_convolutions(data: st.DataObject) -> None:
    kernel, stride, dilation = (data.draw(st.integers(1, n)) for n in (4, 3, 2))
    padding, group = data.draw(st.integers(0, 4)), data.draw(st.sampled_from([1, 2]))
    length = data.draw(st.integers(1, 10))
    assume(length + 2 * padding >= dilation * (kernel - 1) + 1)
    x, w = values(2, 2 * group, length, length), values(2 * group, 2, kernel, kernel) - 1.1
    source = leaf(x)
    truth = F.conv2d(
        source, torch.tensor(w).double(), None, stride, padding, dilation, group
    )  # fmt: skip
    check(
        "Conv", {"x": x}, truth, [source],
        is_dynamic=data.draw(st.booleans()), constants={"w": w}, strides=[stride] * 2,
        pads=[padding] * 4, dilations=[dilation] * 2, group=group, kernel_shape=[kernel] * 2,
    )  # fmt: skip


@few
@given(data=st.data())
def test_pools(data: st.DataObject) -> None:
    kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    padding = data.draw(st.integers(0, kernel // 2))
    length = data.draw(st.integers(kernel, 9))
    operator = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    counts_pads = data.draw(st.booleans())
    x = values(2, 3, length, length)
    source = leaf(x)
    more: dict[str, Any] = {}
    if operator == "MaxPool":
        truth = F.max_pool2d(source, kernel, stride, padding)
    else:
        truth = F.avg_pool2d(source, kernel, stride, padding, count_include_pad=counts_pads)
        more = {"count_include_pad": int(counts_pads)}
    check(
        operator, {"x": x}, truth, [source], is_dynamic=data.draw(st.booleans()),
        kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4, **more,
    )  # fmt: skip


@settings(few, max_examples=60)
@given(data=st.data())
def test_the_first_of_equal_maxima_gets_all(data: st.DataObject) -> None:
    kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    dilation, axes = data.draw(st.sampled_from([1, 1, 2])), data.draw(st.sampled_from([1, 2, 2, 3]))
    padding, is_ceiled = data.draw(st.integers(0, kernel // 2)), data.draw(st.booleans())
    length = data.draw(st.integers(dilation * (kernel - 1) + 1, 9))
    x = np.random.default_rng(length).integers(0, 3, (2, 3, *[length] * axes)).astype(np.float32)
    source = leaf(x)
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[axes]
    truth = pool(source, kernel, stride, padding, dilation, is_ceiled)
    # PyTorch drops a last window that would start behind the input; ONNX has no way to say so.
    span = length + 2 * padding - dilation * (kernel - 1) - 1
    assume(not is_ceiled or truth.shape[2] == -(-span // stride) + 1)
    check(
        "MaxPool", {"x": x}, truth, [source], is_dynamic=data.draw(st.booleans()),
        kernel_shape=[kernel] * axes, strides=[stride] * axes, pads=[padding] * 2 * axes,
        dilations=[dilation] * axes, ceil_mode=int(is_ceiled),
    )  # fmt: skip


@few
@given(
    start=st.integers(-8, 8), end=st.integers(-8, 8),
    step=st.sampled_from([1, 1, 2, -1, -2]), is_dynamic=st.booleans(),
)  # fmt: skip
def test_slices(start: int, end: int, step: int, is_dynamic: bool) -> None:
    x = values(3, 5)
    source = leaf(x)
    rows = np.arange(5)[start:end:step]
    numbers = {"s": start, "e": end, "a": 1, "t": step}
    check(
        "Slice", {"x": x}, source[:, torch.tensor(rows.copy())], [source], is_dynamic=is_dynamic,
        constants={n: np.array([v]) for n, v in numbers.items()},
    )  # fmt: skip
