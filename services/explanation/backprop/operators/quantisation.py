"""Quantisation: straight through inside the range, nothing where it saturates.

Bengio, Léonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013.
https://arxiv.org/abs/1308.3432. As in torch.fake_quantize_per_tensor_affine.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("QuantizeLinear")
def quantize_linear(op: Operation, g: Value) -> Gradients:
    x, scale = op.inputs[:2]
    if op.attribute("block_size", 0):
        raise op.refusal("scales per block")
    kind = op.inputs[2].elem_type if op.has_input(2) else op.attribute("output_dtype", 0)
    try:
        limits = np.iinfo(helper.tensor_dtype_to_np_dtype(kind or TensorProto.UINT8))
    except ValueError:
        raise op.refusal("quantised to floats") from None
    steps = op.build.emit("Round", x / _along(op, scale))
    if op.has_input(2):
        steps = steps + _along(op, op.inputs[2]).cast(x.elem_type)
    inside = op.build.emit("And", steps >= limits.min, steps <= limits.max)
    return [inside.where(g, 0), *[None] * (len(op.inputs) - 1)]


@rules("DequantizeLinear")
def dequantize_linear(op: Operation, g: Value) -> Gradients:
    """QuantizeLinear's scale and this one cancel."""
    return [g, *[None] * (len(op.inputs) - 1)]


def _along(op: Operation, x: Value) -> Value:
    """A scalar, or a vector along `axis`."""
    if x.rank == 0:
        return x
    axis = op.normalised_axis(op.attribute("axis", 1)) if op.inputs[0].rank > 1 else 0
    return x.reshape([-1, *[1] * (op.inputs[0].rank - axis - 1)])
