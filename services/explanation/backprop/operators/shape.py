"""Operators that move elements without changing them."""

from __future__ import annotations

import numpy as np

from services.explanation.backprop.broadcasting import reduce_to
from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Operation, g: Value) -> Gradients:
    return [g.reshape_like(op.inputs[0]), None]


@rules("Transpose")
def transpose(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    perm = op.attribute("perm") or range(x.rank)[::-1]
    return [g.transpose([int(axis) for axis in np.argsort(perm)])]


@rules("Expand")
def expand(op: Operation, g: Value) -> Gradients:
    return [reduce_to(g.shaped(op.outputs[0].shape), op.inputs[0]), None]


@rules("Concat")
def concat(op: Operation, g: Value) -> Gradients:
    axis = op.normalised_axis(op.attribute("axis"))
    lengths = op.build.concat([x.dims(axis, axis + 1) for x in op.inputs])
    if len(op.inputs) == 1:
        return [g]
    return op.build.emit_many("Split", g, lengths, count=len(op.inputs), axis=axis)


@rules("Split")
def split(op: Operation, g: Value) -> Gradients:
    parts = [op.gradient_of(y) for y in op.outputs]
    return [op.build.concat(parts, axis=op.attribute("axis", 0)), None]


@rules("Pad")
def pad(op: Operation, g: Value) -> Gradients:
    if op.attribute("mode", "constant") != "constant":
        raise op.refusal(f"mode {op.attribute('mode')}; only constant padding has a backward rule")
    pads = op.build.emit("Neg", op.inputs[1])  # a negative pad cuts off
    if not op.has_input(3):
        return [op.build.emit("Pad", g, pads), None, None]
    return [op.build.emit("Pad", g, pads, g.like(0), op.inputs[3]), None, None, None]
