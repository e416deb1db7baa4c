"""Operators that pick elements: backwards, what was picked is put back among zeros."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("Slice", "Gather", "GatherElements", "GatherND", "Compress")
def pick(op: Operation, g: Value) -> Gradients:
    """The operator itself, let loose on 0, 1, 2, …, tells where each element came from.

    Where it is one stretch of each axis, zeros around it do.
    """
    x, *indices = op.inputs
    if (stretch := _stretch(op)) is not None:
        starts, axes = stretch
        return [_surrounded(g, x, starts, axes), *[None] * len(indices)]
    if op.node.op_type == "Gather" and (index := op.constant(1)) is not None and not index.ndim:
        axis = op.normalised_axis(op.attribute("axis", 0))
        return [_surrounded(g.unsqueeze([axis]), x, [int(index)], [axis]), None]
    return [put_back(op.again(positions(x)), g, x), *[None] * len(indices)]


@rules("TopK")
def top_k(op: Operation, g: Value) -> Gradients:
    (x, _), (_, winners) = op.inputs, op.outputs
    axis = op.attribute("axis", -1)
    return [op.build.emit("ScatterElements", x.zeros_like(), winners, g, axis=axis), None]


@rules("ScatterElements", "ScatterND")
def scatter(op: Operation, g: Value) -> Gradients:
    """What was written over has no say; each update hears from the place that it went to."""
    data, indices, updates = op.inputs
    reduction = op.attribute("reduction", "none")
    if reduction not in ("none", "add"):
        raise op.refusal(f"reduction={reduction}; only none and add have a backward rule")
    axis = {"axis": op.attribute("axis", 0)} if op.node.op_type == "ScatterElements" else {}
    gather = "GatherElements" if axis else "GatherND"
    kept = g
    if reduction == "none":
        kept = op.build.emit(op.node.op_type, g, indices, updates.zeros_like(), **axis)
    return [kept.shaped(data.shape), None, op.build.emit(gather, g, indices, **axis)]


@rules("MaxUnpool")
def max_unpool(op: Operation, g: Value) -> Gradients:
    if op.has_input(2):
        raise op.refusal("an output_shape; export it with pads and strides alone")
    x, places = op.inputs
    flat = op.build.emit("Gather", g.reshape([-1]), places.reshape([-1]))
    return [flat.reshape_like(x), None]


def _stretch(op: Operation) -> tuple[list[int], list[int]] | None:
    """Constant starts and axes of a Slice in steps of one, else None."""
    starts, steps = op.constant(1), op.constant(4)
    if op.node.op_type != "Slice" or starts is None:
        return None
    if op.has_input(4) and (steps is None or (steps != 1).any()):
        return None
    axes = op.constant(3) if op.has_input(3) else np.arange(starts.size)
    if axes is None:
        return None
    return starts.tolist(), [op.normalised_axis(axis) for axis in axes.tolist()]


def _surrounded(g: Value, x: Value, starts: list[int], axes: list[int]) -> Value:
    """`g` from `starts` on in zeros shaped like `x`; negative starts count from the end."""
    build = g.builder
    before, after = [], []
    for start, axis in zip(starts, axes, strict=True):
        length, mine = x.dims(axis, axis + 1), g.dims(axis, axis + 1)
        first = build.integers([start])
        if start < 0:
            first = build.emit("Max", length + first, build.integers([0]))
        first = build.emit("Min", first, length)
        before.append(first)
        after.append(length - first - mine)
    pads = build.concat([*before, *after])
    return build.emit("Pad", g, pads, g.like(0), build.integers(axes))


def positions(x: Value) -> Value:
    """0, 1, 2, … in the shape of `x`."""
    zero, one = x.builder.constant(np.int64(0)), x.builder.constant(np.int64(1))
    return x.builder.emit("Range", zero, x.size(), one).reshape_like(x)


def put_back(positions: Value, g: Value, x: Value) -> Value:
    """Zeros shaped like `x` with `g` added at flat `positions`; one that occurs twice adds up."""
    # ONNX Runtime's kernel for the CPU adds no floats of 16 bits.
    gains = g.cast(TensorProto.FLOAT) if g.dtype.itemsize == 2 else g
    zeros = x.builder.emit("Expand", gains.like(0), x.size().reshape([1]))
    scattered = g.builder.emit(
        "ScatterElements",
        zeros,
        positions.reshape([-1]),
        gains.reshape([-1]),
        axis=0,
        reduction="add",
    ).reshape_like(x)
    return scattered if gains is g else scattered.cast(g.elem_type)
