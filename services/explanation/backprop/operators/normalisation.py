"""Normalisations whose statistics are constants of the model.

Those that compute statistics of their input (LayerNormalization and its kin) are ONNX functions
and are expanded into the primitives of the other files.
"""

from __future__ import annotations

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("BatchNormalization")
def batch_normalization(op: Operation, g: Value) -> Gradients:
    """Y = scale (x − mean) / √(variance + ε) + bias with running statistics, per channel."""
    if op.attribute("training_mode", 0):
        raise op.refusal("it uses batch statistics; export the model in evaluation mode")
    x, scale, _, _, variance = op.inputs
    deviation = op.build.emit("Sqrt", variance + op.attribute("epsilon", 1e-5))
    slope = (scale / deviation).reshape([-1, *[1] * (x.rank - 2)])  # [C, 1, …]
    return [g * slope]
