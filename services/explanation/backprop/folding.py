"""BatchNormalization taken into the weights of the layer before it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from services.explanation.backprop.captures import reads

_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0}


def fold_batch_normalisation(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every BatchNormalization folded that follows a layer of constant weights.

    Only layers that nothing else listens to are changed; ConvTranspose in groups is left alone.
    """
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    listeners: dict[str, int] = {}
    for node in graph.node:
        for name in reads(node):
            listeners[name] = listeners.get(name, 0) + 1
    for output in graph.output:
        listeners[output.name] = listeners.get(output.name, 0) + 1
    producers = {o: node for node in graph.node for o in node.output}
    for norm in [n for n in graph.node if n.op_type == "BatchNormalization"]:
        layer = producers.get(norm.input[0])
        if layer is None or listeners[norm.input[0]] != 1 or not _is_foldable(layer):
            continue
        names = [*layer.input[1:3], *norm.input[1:]]
        if not all(name in constants for name in names if name):
            continue
        axis = _CHANNEL_AXIS[layer.op_type]
        if layer.op_type == "Gemm" and not _attribute(layer, "transB", 0):
            axis = 1
        scale, shift, mean, variance = (constants[name] for name in norm.input[1:])
        factor = scale / np.sqrt(variance + _attribute(norm, "epsilon", 1e-5))
        weight = constants[layer.input[1]]
        factors = factor.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        bias = constants[layer.input[2]] if len(layer.input) > 2 and layer.input[2] else 0
        arrays = (weight * factors, (bias - mean) * factor + shift)
        kept = [f"{layer.output[0]}.folded_{part}" for part in ("weight", "bias")]
        graph.initializer.extend(
            numpy_helper.from_array(array.astype(weight.dtype), name)
            for array, name in zip(arrays, kept, strict=True)
        )
        layer.input[1:] = kept
        layer.output[0] = norm.output[0]
        graph.node.remove(norm)
    return model


def _is_foldable(layer: onnx.NodeProto) -> bool:
    if layer.op_type not in _CHANNEL_AXIS:
        return False
    is_plain = _attribute(layer, "alpha", 1.0) == 1 and _attribute(layer, "beta", 1.0) == 1
    return is_plain and not (layer.op_type == "ConvTranspose" and _attribute(layer, "group", 1) > 1)


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    found = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return found[0] if found else default
