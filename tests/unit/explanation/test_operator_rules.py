"""Every backward rule against PyTorch's float64 autograd, with static and with unknown lengths.

Inputs stay clear of kinks and ties, where a float32 and a float64 gradient may rightly differ;
what happens exactly there has tests of its own below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from services.explanation.backprop import (
    RULES,
    cotangent_name,
    differentiate,
    gradient_name,
)


@dataclass
class Case:
    operator: str
    oracle: Callable[..., Tensor]
    inputs: dict[str, np.ndarray]  # what is differentiated by
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    order: str = ""  # names of inputs and constants in the operator's order, "-" for left out
    name: str = ""

    def __str__(self) -> str:
        return f"{self.operator}-{self.name}" if self.name else self.operator


rng = np.random.default_rng(7)


def away(*shape: int) -> np.ndarray:
    """Values with |x| in [0.2, 2], no two alike: far from kinks and ties."""
    magnitude = rng.permutation(np.linspace(0.2, 2, int(np.prod(shape)))).reshape(shape)
    return np.asarray(magnitude * rng.choice([-1, 1], shape), np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.asarray(np.abs(away(*shape)))


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def scalar(number: float) -> np.ndarray:
    return np.array(number, np.float32)


X = away(3, 4)
UNARY: dict[str, tuple[Callable[[Tensor], Tensor], np.ndarray]] = {
    "Identity": (lambda x: x.clone(), X),
    "Neg": (torch.neg, X),
    "Relu": (torch.relu, X),
    "Sigmoid": (torch.sigmoid, X),
    "Tanh": (torch.tanh, X),
    "Exp": (torch.exp, X),
    "Log": (torch.log, positive(3, 4)),
    "Sqrt": (torch.sqrt, positive(3, 4)),
    "Reciprocal": (torch.reciprocal, X),
    "Abs": (torch.abs, X),
    "Sin": (torch.sin, X),
    "Cos": (torch.cos, X),
    "Erf": (torch.erf, X),
    "Softplus": (F.softplus, X),
}


def convolution(name: str, x: np.ndarray, w: np.ndarray, **options: Any) -> Case:
    """A Conv case from PyTorch's options."""
    spatial = x.ndim - 2
    attributes: dict[str, Any] = {"kernel_shape": list(w.shape[2:])}
    if "stride" in options:
        attributes["strides"] = [options["stride"]] * spatial
    if "padding" in options:
        attributes["pads"] = [options["padding"]] * 2 * spatial
    if "dilation" in options:
        attributes["dilations"] = [options["dilation"]] * spatial
    if "groups" in options:
        attributes["group"] = options["groups"]
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial]
    return Case(
        "Conv",
        lambda x, w: conv(x, w, **options),
        {"x": x},
        {"w": w},
        attributes,
        order="x w",
        name=name,
    )


def average_pool(name: str, x: np.ndarray, kernel: int, **options: Any) -> Case:
    attributes = {
        "kernel_shape": [kernel, kernel],
        "strides": [options.get("stride", kernel)] * 2,
        "pads": [options.get("padding", 0)] * 4,
        "ceil_mode": int(options.get("ceil_mode", False)),
        "count_include_pad": int(options.get("count_include_pad", True)),
    }
    return Case(
        "AveragePool",
        lambda x: F.avg_pool2d(x, kernel, **options),
        {"x": x},
        attributes=attributes,
        name=name,
    )


def max_pool(name: str, x: np.ndarray, kernel: int, **options: Any) -> Case:
    attributes = {
        "kernel_shape": [kernel, kernel],
        "strides": [options.get("stride", kernel)] * 2,
        "pads": [options.get("padding", 0)] * 4,
        "dilations": [options.get("dilation", 1)] * 2,
        "ceil_mode": int(options.get("ceil_mode", False)),
    }
    return Case(
        "MaxPool",
        lambda x: F.max_pool2d(x, kernel, **options),
        {"x": x},
        attributes=attributes,
        name=name,
    )


def binary(operator: str, oracle: Callable[..., Tensor], *shapes: tuple[int, ...]) -> Case:
    names = "abc"[: len(shapes)]
    make = positive if operator == "Pow" else away
    return Case(
        operator,
        oracle,
        {n: make(*s) for n, s in zip(names, shapes, strict=True)},
        order=" ".join(names),
        name="×".join(str(list(s)) for s in shapes),
    )


CONDITION = rng.random((3, 4)) < 0.5
ROWS = ints(2, 0, 2)
CASES: list[Case] = [
    *(Case(op, oracle, {"x": x}) for op, (oracle, x) in UNARY.items()),
    Case("Cast", lambda x: x.double(), {"x": X}, attributes={"to": TensorProto.DOUBLE}),
    Case("Dropout", lambda x, r, t: x.clone(), {"x": X},
         {"ratio": scalar(0.5), "training": np.array(False)}, order="x ratio training"),
    Case("LeakyRelu", lambda x: F.leaky_relu(x, 0.2), {"x": X}, attributes={"alpha": 0.2}),
    Case("Elu", lambda x: F.elu(x, 0.7), {"x": X}, attributes={"alpha": 0.7}),
    Case("Clip", lambda x, lo, hi: x.clamp(-1.01, 0.99), {"x": X},
         {"lo": scalar(-1.01), "hi": scalar(0.99)}, order="x lo hi"),
    Case("Clip", lambda x, hi: x.clamp(max=0.99), {"x": X}, {"hi": scalar(0.99)},
         order="x - hi", name="above"),
    *(Case(op, lambda x, f=f: f(x) + x, {"x": X}) for op, f in
      {"Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign}.items()),
    Case("Softmax", lambda x: x.softmax(-1), {"x": X}),
    Case("Softmax", lambda x: x.softmax(0), {"x": X}, attributes={"axis": 0}, name="axis 0"),
    Case("LogSoftmax", lambda x: x.log_softmax(-1), {"x": X}),
    binary("Add", torch.add, (3, 4), (3, 4)),
    binary("Add", torch.add, (2, 3, 4), (3, 1)),
    binary("Sub", torch.sub, (3, 4), (4,)),
    binary("Mul", torch.mul, (3, 1), (3, 4)),
    binary("Mul", torch.mul, (3, 4), ()),
    binary("Div", torch.div, (1, 4), (3, 1)),
    binary("Pow", torch.pow, (3, 4), (4,)),
    binary("Sum", lambda a, b, c: a + b + c, (3, 4), (4,), (1, 1)),
    binary("Max", torch.maximum, (3, 4), (4,)),
    binary("Min", torch.minimum, (3, 4), (3, 1)),
    Case("Where", lambda c, a, b: torch.where(c.bool(), a, b),
         {"a": X, "b": away(4)}, {"c": CONDITION}, order="c a b"),
    binary("MatMul", torch.matmul, (3, 4), (4, 5)),
    binary("MatMul", torch.matmul, (2, 3, 4), (4, 5)),
    binary("MatMul", torch.matmul, (2, 3, 4), (2, 4, 5)),
    binary("MatMul", torch.matmul, (2, 1, 3, 4), (6, 4, 5)),
    binary("MatMul", torch.matmul, (4,), (4, 5)),
    binary("MatMul", torch.matmul, (2, 3, 4), (4,)),
    binary("MatMul", torch.matmul, (4,), (4,)),
    binary("Gemm", torch.matmul, (3, 4), (4, 5)),
    Case("Gemm", lambda a, b, c: 0.5 * a.T @ b + 2 * c,
         {"a": away(4, 3), "b": away(4, 5), "c": away(5)},
         attributes={"transA": 1, "alpha": 0.5, "beta": 2.0}, order="a b c", name="transA"),
    Case("Gemm", lambda a, b, c: a @ b.T + c, {"a": X, "b": away(5, 4), "c": away(3, 1)},
         attributes={"transB": 1}, order="a b c", name="transB"),
    Case("Gemm", lambda a, b: a.T @ b.T, {"a": away(4, 3), "b": away(5, 4)},
         attributes={"transA": 1, "transB": 1}, order="a b", name="both"),
    convolution("plain", away(2, 3, 8, 8), away(4, 3, 3, 3)),
    convolution("padded", away(2, 3, 8, 8), away(4, 3, 3, 3), padding=1),
    convolution("strided", away(2, 3, 8, 8), away(4, 3, 3, 3), stride=2),
    convolution("all", away(2, 4, 11, 11), away(6, 2, 3, 3), stride=3, padding=2, dilation=2,
                groups=2),
    convolution("rest beyond the padding", away(1, 1, 9, 9), away(1, 1, 2, 2), stride=4, padding=1),
    convolution("1d", away(2, 3, 9), away(4, 3, 3), stride=2, padding=1),
    convolution("3d", away(1, 2, 5, 5, 5), away(3, 2, 2, 2, 2)),
    Case("Conv", lambda x, w: F.conv2d(F.pad(x, (0, 1, 0, 1)), w, stride=2),
         {"x": away(1, 2, 6, 6)}, {"w": away(3, 2, 3, 3)},
         {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, "x w", "same"),
    Case("ConvTranspose", lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1,
                                                          output_padding=1, groups=2),
         {"x": away(2, 4, 5, 5)}, {"w": away(4, 3, 3, 3)},
         {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1], "group": 2}, "x w"),
    max_pool("plain", away(2, 3, 8, 8), 2),
    max_pool("overlapping", away(2, 3, 9, 9), 3, stride=2, padding=1),
    max_pool("dilated, ceiled", away(1, 2, 9, 9), 2, stride=2, dilation=2, ceil_mode=True),
    average_pool("plain", away(2, 3, 8, 8), 2),
    average_pool("rest", away(2, 3, 9, 9), 2),
    average_pool("counting pads", away(2, 3, 8, 8), 3, stride=2, padding=1),
    average_pool("not counting pads", away(2, 3, 8, 8), 3, stride=2, padding=1,
                 count_include_pad=False),
    average_pool("ceiled", away(2, 3, 8, 8), 3, stride=2, ceil_mode=True),
    average_pool("ceiled, padded", away(2, 3, 10, 10), 3, stride=2, padding=1, ceil_mode=True),
    Case("GlobalAveragePool", lambda x: x.mean((2, 3), keepdim=True), {"x": away(2, 3, 4, 5)}),
    Case("Reshape", lambda x, s: x.reshape(2, 6), {"x": X}, {"s": ints(2, 6)}, order="x s"),
    Case("Flatten", lambda x: x.flatten(1), {"x": away(2, 3, 4)}),
    Case("Squeeze", lambda x, a: x.squeeze(1), {"x": away(3, 1, 4)}, {"a": ints(1)}, order="x a"),
    Case("Unsqueeze", lambda x, a: x[:, None], {"x": X}, {"a": ints(1)}, order="x a"),
    Case("Transpose", lambda x: x.permute(2, 0, 1), {"x": away(2, 3, 4)},
         attributes={"perm": [2, 0, 1]}),
    Case("Transpose", lambda x: x.T, {"x": X}, name="reversed"),
    Case("Expand", lambda x, s: x.expand(2, 3, 4), {"x": away(3, 1)}, {"s": ints(2, 1, 4)},
         order="x s"),
    Case("Concat", lambda a, b: torch.cat([a, b], -1), {"a": X, "b": away(3, 2)},
         attributes={"axis": -1}, order="a b"),
    Case("Concat", lambda a: a.clone(), {"a": X}, attributes={"axis": 0}, order="a", name="one"),
    Case("Split", lambda x, s: x[:, :1], {"x": X}, {"s": ints(1, 3)}, {"axis": 1}, "x s"),
    Case("Pad", lambda x, p: F.pad(x, (2, 0, 1, 3)), {"x": X}, {"p": ints(1, 2, 3, 0)},
         order="x p"),
    Case("Pad", lambda x, p, a: F.pad(x, (-1, 2)), {"x": X}, {"p": ints(-1, 2), "a": ints(-1)},
         order="x p - a", name="axes"),
    Case("Slice", lambda x, *_: x[:, 1:3], {"x": X},
         {"s": ints(1), "e": ints(3), "a": ints(1)}, order="x s e a"),
    Case("Slice", lambda x, *_: x.flip(0)[:, ::2], {"x": X},
         {"s": ints(-1, 0), "e": ints(-100, 100), "a": ints(0, 1), "t": ints(-1, 2)},
         order="x s e a t", name="steps"),
    Case("Gather", lambda x, i: x[i.long()], {"x": X}, {"i": ROWS}, order="x i"),
    Case("Gather", lambda x, i: x[:, 1], {"x": X}, {"i": np.array(-3)}, {"axis": 1}, "x i",
         "scalar"),
    Case("GatherElements", lambda x, i: x.gather(1, i.long()), {"x": X},
         {"i": ints(0, 0, 3, 1, 2, 2).reshape(3, 2)}, {"axis": 1}, "x i"),
    Case("GatherND", lambda x, i: x[[2, 2], [1, 1]], {"x": X},
         {"i": ints(2, 1, 2, 1).reshape(2, 2)}, order="x i"),
    *(Case(op, oracle, {"x": away(2, 3, 4)}, {"a": ints(1, -1)}, {"keepdims": keep}, "x a",
           f"keepdims={keep}")
      for keep in (0, 1)
      for op, oracle in {
          "ReduceSum": lambda x, a, k=keep: x.sum((1, 2), bool(k)),
          "ReduceMean": lambda x, a, k=keep: x.mean((1, 2), bool(k)),
          "ReduceMax": lambda x, a, k=keep: x.amax((1, 2), bool(k)),
          "ReduceMin": lambda x, a, k=keep: x.amin((1, 2), bool(k)),
      }.items()),
    Case("ReduceMean", lambda x: x.mean(), {"x": X}, attributes={"keepdims": 0}, name="all"),
    Case("BatchNormalization",
         lambda x, s, b, m, v: F.batch_norm(x, m, v, s, b, eps=1e-3), {"x": away(2, 3, 4, 4)},
         {"s": away(3), "b": away(3), "m": away(3), "v": positive(3)}, {"epsilon": 1e-3},
         "x s b m v"),
    Case("BatchNormalization",
         lambda x, s, b, m, v: F.batch_norm(x, m, v, s, b), {"x": away(5, 3)},
         {"s": away(3), "b": away(3), "m": away(3), "v": positive(3)}, order="x s b m v",
         name="vectors"),
]  # fmt: skip

FUNCTIONS = [  # no rule of their own: their ONNX function bodies are expanded
    Case("Gelu", F.gelu, {"x": X}),
    Case("Selu", F.selu, {"x": X}),
    Case("HardSigmoid", F.hardsigmoid, {"x": X}, attributes={"alpha": 1 / 6}),
    Case("LayerNormalization", lambda x, s, b: F.layer_norm(x, (4,), s, b, 1e-5), {"x": X},
         {"s": away(4), "b": away(4)}, order="x s b"),
    Case("ReduceL2", lambda x, a: x.norm(dim=1), {"x": X}, {"a": ints(1)}, {"keepdims": 0}, "x a"),
    Case("ReduceLogSumExp", lambda x, a: x.logsumexp(1), {"x": X}, {"a": ints(1)}, {"keepdims": 0},
         "x a"),
]  # fmt: skip


def model_of(case: Case, are_lengths_known: bool) -> onnx.ModelProto:
    """One node and, for step functions, the identity beside it so that a gradient exists."""
    order = (case.order or "x").split()
    node = helper.make_node(
        case.operator,
        ["" if name == "-" else name for name in order],
        ["y", "rest"] if case.operator == "Split" else ["y"],
        **case.attributes,
    )
    nodes = [node]
    output, elem_type = "y", case.attributes.get("to", TensorProto.FLOAT)
    if case.operator in {"Floor", "Ceil", "Round", "Sign"}:
        nodes.append(helper.make_node("Add", ["y", "x"], ["sum"]))
        output = "sum"
    graph = helper.make_graph(
        nodes,
        "case",
        [
            helper.make_tensor_value_info(
                name,
                TensorProto.FLOAT,
                array.shape if are_lengths_known else [f"{name}{i}" for i in range(array.ndim)],
            )
            for name, array in case.inputs.items()
        ],
        [helper.make_tensor_value_info(output, elem_type, None)],
        [numpy_helper.from_array(array, name) for name, array in case.constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def expected(case: Case, cotangent: np.ndarray) -> dict[str, np.ndarray]:
    leaves = {n: torch.tensor(a, dtype=torch.float64, requires_grad=True)
              for n, a in case.inputs.items()}  # fmt: skip
    tensors = leaves | {n: torch.tensor(a).double() for n, a in case.constants.items()}
    order = [name for name in (case.order or "x").split() if name != "-"]
    result = case.oracle(*(tensors[name] for name in order))
    gradients = torch.autograd.grad((result * torch.tensor(cotangent)).sum(), list(leaves.values()))
    return {n: g.numpy() for n, g in zip(leaves, gradients, strict=True)}


@pytest.mark.parametrize("are_lengths_known", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", [*CASES, *FUNCTIONS], ids=str)
def test_equals_float64_autograd(case: Case, are_lengths_known: bool) -> None:
    model = model_of(case, are_lengths_known)
    if "SAME" in str(case.attributes.get("auto_pad")) and not are_lengths_known:
        pytest.skip("auto_pad needs known lengths; the refusal has a test of its own")
    (output,) = [o.name for o in model.graph.output]
    derived = differentiate(model, list(case.inputs), output=output)
    y = run(model, case.inputs)[output]
    cotangent = away(*y.shape).astype(y.dtype) if y.ndim else np.asarray(1.5, y.dtype)
    answers = run(derived, {**case.inputs, cotangent_name(output): cotangent})

    np.testing.assert_allclose(answers[output], y, rtol=1e-6, atol=1e-6)  # expanded bodies round
    for name, truth in expected(case, cotangent).items():
        gradient = answers[gradient_name(name)]
        assert gradient.shape == truth.shape
        np.testing.assert_allclose(gradient, truth, rtol=1e-5, atol=1e-6 * np.abs(truth).max())


def test_every_rule_has_a_case() -> None:
    covered = {case.operator for case in CASES}
    for table in RULES.values():
        assert set(table) <= covered, sorted(set(table) - covered)
