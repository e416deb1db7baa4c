"""Operators of `ai.onnx.ml` that are plain arithmetic, spelled out in ONNX's own operators.

scikit-learn's exporter writes a StandardScaler as Scaler, a regression as LinearRegressor, logistic
regression as LinearClassifier and Normalizer. What chooses (trees, nearest neighbours, labels) has
no derivative and stays what it is. ONNX-ML operator schemas, ai.onnx.ml 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_DOMAIN = "ai.onnx.ml"
_AFTERWARDS = {"NONE": "Identity", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}
_NORMS = {"L1": "ReduceL1", "L2": "ReduceL2"}


def spell_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace Scaler, LinearRegressor, LinearClassifier and Normalizer where they can be.

    The model given is changed. It must be of operator set 18 or later, where reductions take their
    axes as inputs. A LinearClassifier goes on choosing the label; its scores are computed beside.
    """
    graph = model.graph
    if not any(node.domain == _DOMAIN for node in graph.node):
        return model
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        spelling = _SPELLINGS.get(node.op_type) if node.domain == _DOMAIN else None
        replacement = spelling(node, graph) if spelling else None
        nodes.extend([node] if replacement is None else replacement)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return model


def _scaler(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """(x − offset) · scale."""
    name, told = node.output[0], _attributes(node)
    offset = _constant(graph, f"{name}/offset", told.get("offset", [0.0]))
    scale = _constant(graph, f"{name}/scale", told.get("scale", [1.0]))
    return [
        _to_float(node.input[0], f"{name}/float"),
        helper.make_node("Sub", [f"{name}/float", offset], [f"{name}/shifted"]),
        helper.make_node("Mul", [f"{name}/shifted", scale], [name], node.name),
    ]


def _linear_regressor(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    told = _attributes(node)
    if told.get("post_transform", b"NONE") != b"NONE":
        return None
    targets = told.get("targets", 1)
    return list(_line(node, graph, node.output[0], told, targets))


def _linear_classifier(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    told, scores = _attributes(node), node.output[1]
    labels = len(told.get("classlabels_ints") or told.get("classlabels_strings") or ())
    after = _AFTERWARDS.get(told.get("post_transform", b"NONE").decode())
    # One row of coefficients for two classes: what the second score is depends on the runtime.
    if after is None or labels < 2 or len(told["coefficients"]) % labels:
        return None
    if len(told.get("intercepts", [])) not in (0, labels):
        return None
    chooser = onnx.NodeProto.FromString(node.SerializeToString())
    chooser.output[1] = f"{scores}/unused"
    return [
        chooser,
        *_line(node, graph, f"{scores}/line", told, labels),
        helper.make_node(after, [f"{scores}/line"], [scores]),
    ]


def _normalizer(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    """X / ‖x‖ of each row; rows of zeros stay."""
    name, norm = node.output[0], _attributes(node).get("norm", b"MAX").decode()
    if norm not in _NORMS:
        return None
    axis = _constant(graph, f"{name}/axis", np.array([1]))
    zero, one = (_constant(graph, f"{name}/{n}", np.float32(n)) for n in (0, 1))
    return [
        _to_float(node.input[0], f"{name}/float"),
        helper.make_node(_NORMS[norm], [f"{name}/float", axis], [f"{name}/length"]),
        helper.make_node("Equal", [f"{name}/length", zero], [f"{name}/is_zero"]),
        helper.make_node(
            "Where", [f"{name}/is_zero", one, f"{name}/length"], [f"{name}/divisor"]
        ),
        helper.make_node("Div", [f"{name}/float", f"{name}/divisor"], [name], node.name),
    ]  # fmt: skip


_SPELLINGS: dict[
    str, Callable[[onnx.NodeProto, onnx.GraphProto], list[onnx.NodeProto] | None]
] = {
    "Scaler": _scaler,
    "LinearRegressor": _linear_regressor,
    "LinearClassifier": _linear_classifier,
    "Normalizer": _normalizer,
}  # fmt: skip


def _line(
    node: onnx.NodeProto, graph: onnx.GraphProto, output: str, told: dict[str, Any], width: int
) -> Iterator[onnx.NodeProto]:
    """X Wᵀ + b, coefficients [width, C] row by row."""
    weights = np.asarray(told["coefficients"], np.float32).reshape(width, -1).T
    bias = told.get("intercepts") or [0.0] * width
    w = _constant(graph, f"{output}/weights", weights)
    b = _constant(graph, f"{output}/bias", bias)
    yield _to_float(node.input[0], f"{output}/float")
    yield helper.make_node("MatMul", [f"{output}/float", w], [f"{output}/product"])
    yield helper.make_node("Add", [f"{output}/product", b], [output])


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _to_float(tensor: str, output: str) -> onnx.NodeProto:
    """These operators answer in FP32 whatever they are given."""
    return helper.make_node("Cast", [tensor], [output], to=TensorProto.FLOAT)


def _constant(graph: onnx.GraphProto, name: str, values: Any) -> str:
    array = np.asarray(values)
    array = array.astype(np.float32) if array.dtype.kind == "f" else array
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return name
