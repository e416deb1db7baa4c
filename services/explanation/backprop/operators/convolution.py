"""Convolutions: the gradient of each is the other with the same weights."""

from __future__ import annotations

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators.windows import Window, scatter_windows
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("Conv")
def conv(op: Operation, g: Value) -> Gradients:
    x, weight = op.inputs[:2]
    return [scatter_windows(g, weight, x, Window.of(op, x, weight.shape), op.attribute("group", 1))]


@rules("ConvTranspose")
def conv_transpose(op: Operation, g: Value) -> Gradients:
    if op.attribute("auto_pad", "NOTSET") != "NOTSET" or op.attribute("output_shape"):
        raise op.refusal("auto_pad and output_shape; export it with explicit pads")
    kept = ("strides", "dilations", "pads", "group", "kernel_shape")
    attributes = {k: v for k in kept if (v := op.attribute(k)) is not None}
    return [op.build.emit("Conv", g, op.inputs[1], **attributes)]
