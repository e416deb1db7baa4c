"""Operators that move elements without changing them."""

from __future__ import annotations

import numpy as np

from services.explanation.backprop.broadcasting import reduce_to
from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators.indexing import positions, put_back
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
    parts = [op.gradient_or_zeros(y) for y in op.outputs]
    return [op.build.concat(parts, axis=op.attribute("axis", 0)), None]


@rules("Pad")
def pad(op: Operation, g: Value) -> Gradients:
    """What a constant pads is cut off; what repeats elements is added up at its origin."""
    x, rest = op.inputs[0], [None] * (len(op.inputs) - 1)
    if (mode := op.attribute("mode", "constant")) != "constant":
        nothing = Value(op.build, "")  # a value to pad with would be of another type
        told = (op.inputs[1], nothing, *op.inputs[3:])
        return [put_back(op.build.emit("Pad", positions(x), *told, mode=mode), g, x), *rest]
    if op.is_active(2):
        raise op.refusal("a value to pad with that depends on the input")
    pads = op.build.emit("Neg", op.inputs[1])  # a negative pad cuts off
    if not op.has_input(3):
        return [op.build.emit("Pad", g, pads), *rest]
    return [op.build.emit("Pad", g, pads, g.like(0), op.inputs[3]), *rest]


@rules("Tile")
def tile(op: Operation, g: Value) -> Gradients:
    """[r₀ d₀, r₁ d₁, …] seen as [r₀, d₀, r₁, d₁, …] and summed over the repeats."""
    x, repeats = op.inputs
    pairs = op.build.concat([repeats.unsqueeze([1]), x.dims().unsqueeze([1])], axis=1)
    return [g.reshape(pairs.reshape([-1])).sum(range(0, 2 * x.rank, 2), keepdims=False), None]


@rules("Trilu")
def trilu(op: Operation, g: Value) -> Gradients:
    return [op.again(g), None]


@rules("ReverseSequence")
def reverse_sequence(op: Operation, g: Value) -> Gradients:
    return [op.again(g), None]


@rules("DepthToSpace")
def depth_to_space(op: Operation, g: Value) -> Gradients:
    """[N, C, H, b, W, b] back to the channels, in the order that `mode` names."""
    block = op.attribute("blocksize")
    parts = _blocks(g, block)
    is_depth_first = op.attribute("mode", "DCR") == "DCR"
    perm = [0, 3, 5, 1, 2, 4] if is_depth_first else [0, 1, 3, 5, 2, 4]
    return [parts.transpose(perm).reshape_like(op.inputs[0])]


@rules("SpaceToDepth")
def space_to_depth(op: Operation, g: Value) -> Gradients:
    """[N, b, b, C, H, W] back to [N, C, H, b, W, b]."""
    (x,), block = op.inputs, op.attribute("blocksize")
    sides = op.build.integers([block, block])
    dims = [g.dims(0, 1), sides, x.dims(1, 2), g.dims(2)]
    parts = g.reshape(op.build.concat(dims))
    return [parts.transpose([0, 3, 4, 1, 5, 2]).reshape_like(x)]


def _blocks(x: Value, block: int) -> Value:
    """[N, C, H b, W b] as [N, C, H, b, W, b]."""
    side = x.builder.integers([block])
    height, width = x.dims(2, 3) / side, x.dims(3, 4) / side
    return x.reshape(x.builder.concat([x.dims(0, 2), height, side, width, side]))
