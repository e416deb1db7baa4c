"""Sums, means and extrema over axes: backwards, every element gets its part."""

from __future__ import annotations

from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("ReduceSum")
def reduce_sum(op: Operation, g: Value) -> Gradients:
    return [_unreduced(op, g).expand_like(op.inputs[0]), None]


@rules("ReduceMean")
def reduce_mean(op: Operation, g: Value) -> Gradients:
    x, y = op.inputs[0], op.outputs[0]
    share = y.size().cast(g.elem_type) / x.size().cast(g.elem_type)
    return [_unreduced(op, g * share).expand_like(x), None]


@rules("ReduceMax", "ReduceMin")
def reduce_extremum(op: Operation, g: Value) -> Gradients:
    """Ties share equally, as in torch.amax."""
    x, y = op.inputs[0], _unreduced(op, op.outputs[0])
    wins = x.equals(y).cast(g.elem_type)
    axes = op.inputs[1] if op.has_input(1) else list(range(x.rank))
    return [wins * (_unreduced(op, g) / wins.sum(axes)), None]


@rules("ReduceProd")
def reduce_prod(op: Operation, g: Value) -> Gradients:
    """The product of the others, also where one of them or the element itself is zero."""
    x = op.inputs[0]
    axes = op.inputs[1] if op.has_input(1) else op.build.integers(range(x.rank))
    is_zero = x.equals(0)
    others = is_zero.where(x.like(1), x)
    product = op.build.emit("ReduceProd", others, axes)
    zeros = is_zero.cast(x.elem_type).sum(axes)
    without_self = zeros - is_zero.cast(x.elem_type)
    return [without_self.equals(0).where(_unreduced(op, g) * product / others, 0), None]


@rules("LpNormalization")
def lp_normalization(op: Operation, g: Value) -> Gradients:
    """Y = x / ‖x‖ₚ, p one or two."""
    (x,), (y,), axis = op.inputs, op.outputs, [op.attribute("axis", -1)]
    if op.attribute("p", 2) == 1:
        slope, norm = op.build.emit("Sign", x), op.build.emit("Abs", x).sum(axis)
    else:
        slope, norm = y, op.build.emit("Sqrt", (x * x).sum(axis))
    return [(g - slope * (g * y).sum(axis)) / norm]


@rules("CumSum")
def cum_sum(op: Operation, g: Value) -> Gradients:
    """The same sum, from the other end."""
    return [
        op.build.emit(
            "CumSum",
            g,
            op.inputs[1],
            exclusive=op.attribute("exclusive", 0),
            reverse=1 - op.attribute("reverse", 0),
        ),
        None,
    ]


@rules("GlobalMaxPool")
def global_max_pool(op: Operation, g: Value) -> Gradients:
    """All to the first maximum of each channel, as in torch.nn.AdaptiveMaxPool."""
    (x,), build = op.inputs, op.build
    rows = x.reshape(build.concat([x.dims(0, 2), build.integers([-1])]))  # [N, C, H W …]
    winner = build.emit("ArgMax", rows, axis=2, keepdims=1, elem_type=TensorProto.INT64)
    gains = g.reshape(build.concat([x.dims(0, 2), build.integers([1])]))
    return [build.emit("ScatterElements", rows.zeros_like(), winner, gains, axis=2).reshape_like(x)]


@rules("GlobalAveragePool")
def global_average_pool(op: Operation, g: Value) -> Gradients:
    x, y = op.inputs[0], op.outputs[0]
    share = y.size().cast(g.elem_type) / x.size().cast(g.elem_type)
    return [(g * share).expand_like(x)]


def _unreduced(op: Operation, y: Value) -> Value:
    """`y` with the reduced axes back, of length one, ready to broadcast against the input."""
    if op.attribute("keepdims", 1) or (
        op.attribute("noop_with_empty_axes", 0) and not op.has_input(1)
    ):
        return y
    x = op.inputs[0]
    return y.unsqueeze(op.inputs[1] if op.has_input(1) else list(range(x.rank)))
