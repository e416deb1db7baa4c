"""Pooling over windows by sums; for maxima see `max_pooling`."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators.windows import Window, scatter_windows, upsampled
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("AveragePool")
def average_pool(op: Operation, g: Value) -> Gradients:
    """Each element of a window gets 1 / divisor."""
    x = op.inputs[0]
    window = Window.of(op, x)
    share = g * _shares(op, window)
    if window.tiles(x) and g.elem_type == TensorProto.FLOAT:
        return [upsampled(share, window)]
    return [_to_elements(share, x, window)]


@rules("LpPool")
def lp_pool(op: Operation, g: Value) -> Gradients:
    """Y = (Σ |x|ᵖ)^(1/p): sign(x) (|x| / y)^(p − 1) of each window."""
    x, y, p = op.inputs[0], op.outputs[0], op.attribute("p", 2)
    window = Window.of(op, x)
    weighed = y.equals(0).where(g.zeros_like(), g * y ** (1 - p))
    back = _to_elements(weighed, x, window)
    return [op.build.emit("Sign", x) * op.build.emit("Abs", x) ** (p - 1) * back]


def _to_elements(g: Value, x: Value, window: Window) -> Value:
    """`g` summed over the windows that hold each element; one kernel for all channels."""
    build = x.builder
    planes = x.reshape(build.concat([build.integers([-1, 1]), x.dims(2)]))
    planes = planes.shaped((None, 1, *(x.shape or (None, None, None))[2:]))
    g = g.reshape(build.concat([build.integers([-1, 1]), g.dims(2)]))
    return scatter_windows(g, _box(x, window), planes, window).reshape_like(x)


def _shares(op: Operation, window: Window) -> Value | float:
    """1 / divisor for each window, [1, 1, …windows] where it differs between them.

    The pool of ones is (elements covered) / divisor, whatever the model counts.
    """
    if not window.has_ragged_windows():
        return 1 / math.prod(window.kernel)
    x = op.inputs[0]
    ones = op.build.emit(
        "Expand", x.like(1), op.build.concat([op.build.integers([1, 1]), x.dims(2)])
    )
    pooled = op.again(ones)
    overhang = [e + s - 1 for e, s in zip(window.pads_end, window.strides, strict=True)]
    covered = op.build.emit(
        "Conv",
        ones,
        _box(x, window),
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=[*window.pads_begin, *overhang],
    )
    axes = op.build.integers(range(2, 2 + len(window.kernel)))
    start = op.build.integers([0] * len(window.kernel))
    return pooled / op.build.emit("Slice", covered, start, pooled.dims(2), axes)


def _box(x: Value, window: Window) -> Value:
    """The kernel that adds up a window of one channel."""
    return x.builder.constant(np.ones((1, 1, *window.kernel), x.dtype))
