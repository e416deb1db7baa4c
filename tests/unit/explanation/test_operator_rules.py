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
    baseline_name,
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
    opset: int = 20

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
CONDITION = rng.random((3, 4)) < 0.5
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
    "Tan": (torch.tan, X / 2),
    "Asin": (torch.asin, X / 3),
    "Acos": (torch.acos, X / 3),
    "Atan": (torch.atan, X),
    "Sinh": (torch.sinh, X),
    "Cosh": (torch.cosh, X),
    "Asinh": (torch.asinh, X),
    "Acosh": (torch.acosh, positive(3, 4) + 1),
    "Atanh": (torch.atanh, X / 3),
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


def resize(
    name: str, shape: tuple[int, ...], size: tuple[int, ...], mode: str, **more: Any
) -> Case:
    """Interpolation to a size; `more` holds the operator's attributes."""
    halves = more.get("coordinate_transformation_mode", "half_pixel")
    options: dict[str, Any] = {"mode": mode}
    if mode != "nearest":
        options["align_corners"] = halves == "align_corners"
        options["antialias"] = bool(more.get("antialias", 0))
    attributes = {"mode": {"nearest": "nearest", "bicubic": "cubic"}.get(mode, "linear"), **more}
    if mode == "nearest":
        attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return Case(
        "Resize",
        lambda x, s: F.interpolate(x, size, **options),
        {"x": away(*shape)},
        {"s": ints(*shape[:2], *size)},
        attributes,
        order="x - - s",
        name=name,
    )


def max_unpool(x: Tensor, places: Tensor) -> Tensor:
    return torch.zeros(1, 32, dtype=x.dtype).scatter(
        1, places.long().flatten()[None], x.flatten()[None]
    ).reshape(1, 2, 4, 4)  # fmt: skip


def channels_last_resized(x: Tensor, _: Tensor) -> Tensor:
    return F.interpolate(x.permute(0, 3, 1, 2), (6, 7), mode="bilinear").permute(0, 2, 3, 1)


def layer_norm_of_two(x: Tensor, s: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[1:]) * s


def space_to_depth(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return (
        x.reshape(n, c, h // 2, 2, w // 2, 2)
        .permute(0, 3, 5, 1, 2, 4)
        .reshape(n, 4 * c, h // 2, w // 2)
    )


def depth_to_space(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return (
        x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)
    )


def fake_quantised(x: Tensor, *_: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(x.float(), 0.01, 120, 0, 255).double()


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
    Case("Pow", lambda x, e: x**0 + 0 * x, {"x": np.float32(X * CONDITION)}, {"e": scalar(0)},
         order="x e", name="flat"),
    Case("Pow", lambda x, e: x**4, {"x": np.float32(X * CONDITION)}, {"e": scalar(4)},
         order="x e", name="zeros"),
    binary("Mean", lambda a, b, c: (a + b + c) / 3, (3, 4), (4,), (1, 1)),
    Case("Mod", torch.fmod, {"a": X, "b": away(4)}, attributes={"fmod": 1}, order="a b"),
    binary("Sum", lambda a, b, c: a + b + c, (3, 4), (4,), (1, 1)),
    binary("Max", torch.maximum, (3, 4), (4,)),
    binary("Min", torch.minimum, (3, 4), (3, 1)),
    binary("Max", lambda a: a.clone(), (3, 4)),
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
    Case("ConvTranspose", lambda x, w: F.conv_transpose2d(x, w, stride=2, output_padding=1),
         {"x": away(1, 2, 4, 4)}, {"w": away(2, 3, 3, 3)},
         {"strides": [2, 2], "output_shape": [10, 10]}, "x w", "beyond the windows"),
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
    *(Case("Pad", lambda x, p, m=mode: F.pad(x, (2, 1), {"edge": "replicate", "wrap": "circular"}
                                                 .get(m, m)),
           {"x": away(2, 3, 4)}, {"p": ints(0, 0, 2, 0, 0, 1)}, {"mode": mode}, "x p", mode)
      for mode in ("reflect", "edge", "wrap")),
    Case("Pad", lambda x, p, v: F.pad(x, (2, 1), "reflect"), {"x": away(2, 3, 4)},
         {"p": ints(0, 0, 2, 0, 0, 1), "v": scalar(0)}, {"mode": "reflect"}, "x p v",
         "reflect, with a value"),
    Case("Tile", lambda x, r: x.tile(2, 3), {"x": X}, {"r": ints(2, 3)}, order="x r"),
    Case("Trilu", torch.triu, {"x": X}),
    Case("Trilu", lambda x, k: torch.tril(x, 1), {"x": X}, {"k": np.array(1)}, {"upper": 0}, "x k",
         "lower"),
    Case("ReverseSequence",
         lambda x, n: torch.cat([x[:2, :1].flip(0), x[2:, :1], *[x[:, :0]]], 0)
         if x.shape[1] == 1 else torch.stack([torch.cat([x[:2, 0].flip(0), x[2:, 0]]),
                                              x[:, 1].flip(0)], 1),
         {"x": away(3, 2)}, {"n": ints(2, 3)}, order="x n"),
    Case("DepthToSpace", lambda x: F.pixel_shuffle(x, 2), {"x": away(2, 8, 3, 2)},
         attributes={"blocksize": 2, "mode": "CRD"}, name="CRD"),
    Case("DepthToSpace", depth_to_space, {"x": away(2, 8, 3, 2)}, attributes={"blocksize": 2}),
    Case("SpaceToDepth", space_to_depth, {"x": away(2, 3, 4, 6)}, attributes={"blocksize": 2}),
    resize("nearest", (1, 2, 3, 4), (6, 9), "nearest"),
    resize("linear", (2, 2, 3, 4), (5, 7), "bilinear"),
    resize("corners", (1, 2, 3, 4), (5, 2), "bilinear",
           coordinate_transformation_mode="align_corners"),
    resize("antialiased", (1, 1, 8, 9), (3, 5), "bilinear", antialias=1, exclude_outside=1),
    resize("cubic", (1, 1, 4, 5), (6, 9), "bicubic", cubic_coeff_a=-0.75),
    Case("Resize", lambda x, s: F.interpolate(x, scale_factor=2, mode="bilinear"),
         {"x": away(1, 2, 3, 4)}, {"s": np.float32([1, 1, 2, 2])}, {"mode": "linear"}, "x - s",
         "scales"),
    Case("Resize", channels_last_resized, {"x": away(2, 3, 4, 2)}, {"s": ints(2, 6, 7, 2)},
         {"mode": "linear"}, "x - - s", "channels last"),
    Case("Resize", channels_last_resized, {"x": away(2, 3, 4, 2)}, {"s": ints(6, 7)},
         {"mode": "linear", "axes": [1, 2]}, "x - - s", "channels last, axes"),
    Case("Einsum", lambda a, b: torch.einsum("bij,bjk->bik", a, b),
         {"a": away(2, 3, 4), "b": away(2, 4, 5)}, attributes={"equation": "bij,bjk->bik"},
         order="a b"),
    Case("Einsum", lambda a, b: torch.einsum("...ij,jk->...k", a, b),
         {"a": away(2, 3, 4), "b": away(4, 5)}, attributes={"equation": "...ij, jk -> ...k"},
         order="a b", name="ellipsis"),
    Case("Einsum", lambda a, b: torch.einsum("ij,k", a, b), {"a": X, "b": away(2)},
         attributes={"equation": "ij,k"}, order="a b", name="implicit"),
    Case("Einsum", lambda a, b: torch.einsum("ij,k->k", a, b), {"a": X, "b": away(2)},
         attributes={"equation": "ij,k->k"}, order="a b", name="summed alone"),
    Case("CumSum", lambda x, a: x.cumsum(1), {"x": X}, {"a": np.array(1)}, order="x a"),
    Case("CumSum", lambda x, a: x.flip(0).cumsum(0).flip(0) - x, {"x": X}, {"a": np.array(0)},
         {"exclusive": 1, "reverse": 1}, "x a", "exclusive, reverse"),
    Case("Compress", lambda x, c: x[:, [0, 2, 3]], {"x": X},
         {"c": np.array([True, False, True, True])}, {"axis": 1}, "x c"),
    Case("TopK", lambda x, k: x.topk(2, 1).values, {"x": X}, {"k": ints(2)}, {"axis": 1}, "x k"),
    Case("ScatterElements", lambda x, i, u: x.scatter(1, i.long(), u),
         {"x": X, "u": away(3, 2)}, {"i": ints(0, 3, 1, 2, 2, 0).reshape(3, 2)}, {"axis": 1},
         "x i u"),
    Case("ScatterElements", lambda x, i, u: x.scatter_add(0, i.long(), u),
         {"x": X, "u": away(2, 4)}, {"i": ints(0, 0, 1, 2, 0, 2, 1, 2).reshape(2, 4)},
         {"reduction": "add"}, "x i u", "add"),
    Case("ScatterND", lambda x, i, u: x.index_put((torch.tensor([2, 0]),), u),
         {"x": X, "u": away(2, 4)}, {"i": ints(2, 0).reshape(2, 1)}, order="x i u"),
    Case("ScatterND", lambda x, i, u: x.index_put((torch.tensor([2, 2]),), u, accumulate=True),
         {"x": X, "u": away(2, 4)}, {"i": ints(2, 2).reshape(2, 1)}, {"reduction": "add"}, "x i u",
         "add"),
    Case("MaxUnpool", max_unpool, {"x": away(1, 2, 2, 2)},
         {"i": ints(0, 3, 9, 14, 16, 19, 27, 30).reshape(1, 2, 2, 2)},
         {"kernel_shape": [2, 2], "strides": [2, 2]}, "x i"),
    Case("ReduceProd", lambda x, a: x.prod(1), {"x": X}, {"a": ints(1)}, {"keepdims": 0}, "x a"),
    Case("ReduceProd", lambda x: x.prod(), {"x": np.float32(X * [[0, 1, 1, 1], [1] * 4, [1] * 4])},
         attributes={"keepdims": 0}, name="one zero"),
    *(Case(op, lambda x: x.clone(), {"x": X}, attributes={"noop_with_empty_axes": 1},
           name="over no axes") for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")),
    *(Case(op, oracle, {"x": X}, {"a": ints()}, {"keepdims": keep}, "x a", f"all, {keep=}")
      for keep in (0, 1)
      for op, oracle in {
          "ReduceMax": lambda x, a, k=keep: x.amax((0, 1), bool(k)),
          "ReduceProd": lambda x, a, k=keep: x.prod().reshape([1, 1] * k),
          "ReduceL2": lambda x, a, k=keep: x.norm(dim=(0, 1), keepdim=bool(k)),
      }.items()),
    Case("ReduceL2", lambda x, a: x.norm(dim=1), {"x": np.float32(X * [[1], [0], [0]])},
         {"a": ints(1)}, {"keepdims": 0}, "x a", "rows of zeros"),
    *(Case("LpNormalization", lambda x, p=p: F.normalize(x, p, 0), {"x": X},
           attributes={"axis": 0, "p": p}, name=f"p={p}") for p in (1, 2)),
    Case("GlobalMaxPool", lambda x: x.amax((2, 3), keepdim=True), {"x": away(2, 3, 4, 5)}),
    Case("LpPool", lambda x: F.lp_pool2d(x.abs(), 2, 3, 2), {"x": away(1, 2, 7, 7)},
         attributes={"kernel_shape": [3, 3], "strides": [2, 2], "p": 2}),
    Case("LRN", lambda x: F.local_response_norm(x, 3, 0.3, 0.6, 2.0), {"x": away(2, 5, 3, 2)},
         attributes={"size": 3, "alpha": 0.3, "beta": 0.6, "bias": 2.0}),
    Case("LayerNormalization", lambda x, s, b: F.layer_norm(x, (4,), s, b, 1e-5),
         {"x": X, "s": away(4), "b": away(4)}, order="x s b"),
    Case("LayerNormalization", layer_norm_of_two, {"x": away(2, 3, 4), "s": away(3, 4)},
         attributes={"axis": 1}, order="x s", name="two axes"),
    Case("InstanceNormalization", lambda x, s, b: F.instance_norm(x, weight=s, bias=b, eps=1e-3),
         {"x": away(2, 3, 4, 5)}, {"s": away(3), "b": away(3)}, {"epsilon": 1e-3}, "x s b"),
    Case("ConvTranspose", lambda x, w: F.conv_transpose2d(x, w, stride=2)[..., :-1, :-1],
         {"x": away(1, 2, 4, 4)}, {"w": away(2, 3, 3, 3)},
         {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, "x w", "same"),
    Case("Hardmax", lambda x: x.clone(), {"x": X}),
    *(Case(op, lambda x: x.clone(), {"x": X}) for op in
      ("EyeLike", "RandomNormalLike", "RandomUniformLike")),
    Case("QuantizeLinear", fake_quantised, {"x": X}, {"s": scalar(0.01), "z": np.uint8(120)},
         order="x s z"),
    Case("DequantizeLinear", fake_quantised, {"x": X}, {"s": scalar(0.01), "z": np.uint8(120)},
         order="x s z", name="pair"),
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
    Case("HardSwish", F.hardswish, {"x": X}),
    Case("Swish", F.silu, {"x": X}, opset=24),
    Case("Mish", F.mish, {"x": X}),
    Case("Celu", lambda x: F.celu(x, 0.8), {"x": X}, attributes={"alpha": 0.8}),
    Case("ThresholdedRelu", lambda x: F.threshold(x, 0.5, 0.0), {"x": X},
         attributes={"alpha": 0.5}),
    Case("Shrink", lambda x: F.softshrink(x, 0.5), {"x": X}, attributes={"bias": 0.5}),
    Case("Softsign", F.softsign, {"x": X}),
    Case("Gelu", lambda x: F.gelu(x, approximate="tanh"), {"x": X},
         attributes={"approximate": "tanh"}, name="tanh"),
    Case("PRelu", lambda x, s: torch.where(x > 0, x, s * x), {"x": X, "s": away(4)}, order="x s"),
    Case("CastLike", lambda x, t: x.clone(), {"x": X}, {"t": np.ones(1, np.float64)},
         order="x t"),
    Case("GroupNormalization", lambda x, s, b: F.group_norm(x, 2, s, b, 1e-5),
         {"x": away(2, 4, 3, 3)}, {"s": away(4), "b": away(4)}, {"num_groups": 2}, "x s b",
         opset=21),
    Case("RMSNormalization", lambda x, s: F.rms_norm(x, (4,), s, 1e-5), {"x": X}, {"s": away(4)},
         order="x s", opset=23),
    Case("MeanVarianceNormalization", lambda x: F.instance_norm(x, eps=1e-9),
         {"x": away(1, 3, 4, 4)}, attributes={"axes": [0, 2, 3]}),
    Case("Attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
         {"q": away(2, 2, 3, 4), "k": away(2, 2, 3, 4), "v": away(2, 2, 3, 4)},
         attributes={"is_causal": 1}, order="q k v", opset=23),
    Case("ReduceL1", lambda x, a: x.abs().sum(1), {"x": X}, {"a": ints(1)}, {"keepdims": 0},
         "x a"),
    Case("ReduceSumSquare", lambda x, a: (x * x).sum(1), {"x": X}, {"a": ints(1)}, {"keepdims": 0},
         "x a"),
    Case("ReduceLogSum", lambda x, a: x.sum(1).log(), {"x": positive(3, 4)}, {"a": ints(1)},
         {"keepdims": 0}, "x a"),
    Case("ReduceLogSumExp", lambda x, a: x.logsumexp(1), {"x": X}, {"a": ints(1)}, {"keepdims": 0},
         "x a"),
]  # fmt: skip


STEPS = {"Floor", "Ceil", "Round", "Sign", "Hardmax", "EyeLike", "RandomNormalLike",
         "RandomUniformLike"}  # fmt: skip
MORE_OUTPUTS = {"Split": ["rest"], "TopK": ["places"]}


def model_of(case: Case, are_lengths_known: bool) -> onnx.ModelProto:
    """One node, and what it takes to have a gradient and a float output beside it."""
    order = (case.order or "x").split()
    names = ["" if name == "-" else name for name in order]
    nodes = [
        helper.make_node(
            case.operator if case.operator != "DequantizeLinear" else "QuantizeLinear",
            names,
            ["y", *MORE_OUTPUTS.get(case.operator, [])],
            **case.attributes,
        )
    ]
    output, elem_type = "y", case.attributes.get("to", TensorProto.FLOAT)
    if case.operator in STEPS:
        seen = "y"
        if case.operator.startswith("Random"):  # the draw itself is of no interest
            nodes.append(helper.make_node("Mul", ["y", "zero"], ["nothing"]))
            seen = "nothing"
        nodes.append(helper.make_node("Add", [seen, "x"], ["sum"]))
        output = "sum"
    if case.operator in ("QuantizeLinear", "DequantizeLinear"):
        nodes.append(helper.make_node("DequantizeLinear", ["y", *names[1:]], ["back"]))
        output = "back"
    if case.operator == "CastLike":
        elem_type = TensorProto.DOUBLE
    constants = {"zero": scalar(0), **case.constants}
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
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=10
    )
    model = onnx.shape_inference.infer_shapes(model)
    if model.graph.output[0].type.tensor_type.HasField("shape"):
        onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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
    asks_for_lengths = "SAME" in str(case.attributes.get("auto_pad")) or (
        "output_shape" in case.attributes
    )
    if asks_for_lengths and not are_lengths_known:
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


GAPS = {"QuantizeLinear", "DequantizeLinear", "TopK", *STEPS}  # what jumps leaves a gap
FIRST_ALONE = {"Pow", "PRelu", "LayerNormalization"}  # refuse changes of their other inputs


@pytest.mark.parametrize(
    "case",
    [
        *(c for c in CASES if c.operator in RULES["deeplift"] and c.operator not in GAPS),
        *FUNCTIONS,
    ],
    ids=str,
)
def test_deeplift_is_complete(case: Case) -> None:
    """Σ multiplier · (x − baseline) is the change of the output, also where little changes."""
    model = model_of(case, are_lengths_known=True)
    (output,) = [o.name for o in model.graph.output]
    sources = list(case.inputs)[: 1 if case.operator in FIRST_ALONE else None]
    rolled = {n: np.roll(a.reshape(-1), 1).reshape(a.shape) for n, a in case.inputs.items()}
    baselines = {n: rolled[n] for n in sources}
    for name, base in baselines.items():
        base.reshape(-1)[0] = case.inputs[name].reshape(-1)[0] * (1 + 1e-3)
    y, y_base = (run(model, x)[output] for x in (case.inputs, case.inputs | baselines))
    cotangent = away(*y.shape).astype(y.dtype) if y.ndim else np.asarray(1.5, y.dtype)
    derived = differentiate(model, sources, "deeplift", output)
    named = {baseline_name(n): b for n, b in baselines.items()}
    answers = run(derived, {**case.inputs, **named, cotangent_name(output): cotangent})
    np.testing.assert_allclose(answers[baseline_name(output)], y_base, rtol=1e-5, atol=1e-6)
    told = sum(
        (answers[gradient_name(n)].astype(np.float64) * (case.inputs[n].astype("d") - base)).sum()
        for n, base in baselines.items()
    )
    change = cotangent.astype(np.float64) * (y.astype(np.float64) - y_base)
    assert abs(told - change.sum()) <= 1e-5 * max(1, np.abs(change).sum())


@pytest.mark.parametrize("masked", [None, -1e4, -1e9, -np.inf])
@pytest.mark.parametrize("apart", [0, 5, 20, 79, 300])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_deeplift_is_complete_however_far_apart(
    operator: str, apart: float, masked: float | None
) -> None:
    """Of passes whose tops differ, and with a mask on top of an element of both."""
    mask = np.zeros(5, np.float32)
    if masked is not None:
        mask[2] = masked
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["masked"]),
        helper.make_node(operator, ["masked"], ["y"]),
    ]
    row = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 5]) for name in "xy"]
    graph = helper.make_graph(
        nodes, "case", row[:1], row[1:], [numpy_helper.from_array(mask, "mask")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    drawn = np.random.default_rng(int(apart))
    x, base = drawn.standard_normal((2, 200, 5)).astype(np.float32)
    told = drawn.uniform(-1, 1, (200, 5)).astype(np.float32)
    x[np.arange(200), drawn.integers(0, 5, 200)] += apart
    base[:5] = x[:5]  # in which the passes agree
    told[:, 2] *= masked is None  # the logarithm of nothing has no difference
    derived = differentiate(model, "x", "deeplift")
    answers = run(derived, {"x": x, baseline_name("x"): base, cotangent_name("y"): told})
    y, y_base = (
        np.where(told, answers[n].astype(np.float64), 0) for n in ("y", baseline_name("y"))
    )
    change = told * (y - y_base)
    parts = answers[gradient_name("x")] * (x.astype(np.float64) - base)
    bound = 1e-5 * max(1, apart / 79)  # float32 rounds a logarithm of 300 to 2e-5
    gaps = np.abs(parts.sum(1) - change.sum(1))
    assert (gaps <= bound * np.maximum(1, np.abs(change).sum(1))).all()


@pytest.mark.parametrize(("operator", "pick"), [("Max", "amax"), ("Min", "amin")])
def test_ties_share_among_any_number(operator: str, pick: str) -> None:
    inputs = dict(
        zip("abcd", np.float32([[1, 2, 3], [1, 4, 2], [0, 4, 3], [1, 1, 3]]), strict=True)
    )
    case = Case(operator, torch.clone, inputs, order="a b c d")
    derived = differentiate(model_of(case, are_lengths_known=True), list(inputs))
    answers = run(derived, inputs | {cotangent_name("y"): np.float32([1, 2, 3])})
    leaf = torch.tensor(np.stack(list(inputs.values())), requires_grad=True)
    (getattr(leaf, pick)(0) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    for name, truth in zip(inputs, leaf.grad, strict=True):
        np.testing.assert_allclose(answers[gradient_name(name)], truth, rtol=1e-6)


@pytest.mark.parametrize("p", [1, 2])
def test_a_row_of_zeros_has_no_direction(p: int) -> None:
    case = Case("LpNormalization", torch.clone, {"x": np.float32([[3, 4], [0, 0]])},
                attributes={"axis": 1, "p": p})  # fmt: skip
    derived = differentiate(model_of(case, are_lengths_known=True), "x")
    gradient = run(derived, case.inputs | {cotangent_name("y"): np.ones((2, 2), "f")})
    assert np.isfinite(gradient[gradient_name("x")]).all()
    np.testing.assert_array_equal(gradient[gradient_name("x")][1], 0)


def test_every_rule_has_a_case() -> None:
    covered = {case.operator for case in [*CASES, *FUNCTIONS]}
    covered |= {"LSTM", "GRU", "RNN"}  # test_recurrent_rules.py
    for table in RULES.values():
        assert set(table) <= covered, sorted(set(table) - covered)
