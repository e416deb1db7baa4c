"""Sums, means and extrema over axes: backwards, every element gets its part."""

from __future__ import annotations

from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("ReduceSum")
def reduce_sum(op: Operation, g: Value) -> Gradients:
    return [unreduced(op, g).expand_like(op.inputs[0]), None]


@rules("ReduceMean")
def reduce_mean(op: Operation, g: Value) -> Gradients:
    x, y = op.inputs[0], op.outputs[0]
    share = y.size().cast(g.elem_type) / x.size().cast(g.elem_type)
    return [unreduced(op, g * share).expand_like(x), None]


@rules("ReduceMax", "ReduceMin")
def reduce_extremum(op: Operation, g: Value) -> Gradients:
    """Ties share equally, as in torch.amax."""
    if leaves_alone(op):
        return [g, None]
    x, y = op.inputs[0], unreduced(op, op.outputs[0])
    wins = x.equals(y).cast(g.elem_type)
    return [wins * (unreduced(op, g) / _likewise(op, "ReduceSum", wins)), None]


@rules("ReduceProd")
def reduce_prod(op: Operation, g: Value) -> Gradients:
    """The product of the others, also where one of them or the element itself is zero."""
    if leaves_alone(op):
        return [g, None]
    x = op.inputs[0]
    is_zero = x.equals(0)
    others = is_zero.where(x.like(1), x)
    product = _likewise(op, "ReduceProd", others)
    zeros = _likewise(op, "ReduceSum", is_zero.cast(x.elem_type))
    without_self = zeros - is_zero.cast(x.elem_type)
    return [without_self.equals(0).where(unreduced(op, g) * product / others, 0), None]


@rules("ReduceL2")
def reduce_l2(op: Operation, g: Value) -> Gradients:
    """X / ‖x‖, and nothing for rows of zeros, as in torch.linalg.vector_norm."""
    x, y = op.inputs[0], op.outputs[0]
    safe = y.equals(0).where(y.like(1), y)
    return [x * unreduced(op, g / safe), None]


@rules("LpNormalization")
def lp_normalization(op: Operation, g: Value) -> Gradients:
    """Y = x / ‖x‖ₚ, p one or two; rows of zeros stay zeros."""
    (x,), (y,), axis = op.inputs, op.outputs, [op.attribute("axis", -1)]
    if op.attribute("p", 2) == 1:
        slope, norm = op.build.emit("Sign", x), op.build.emit("Abs", x).sum(axis)
    else:
        slope, norm = y, op.build.emit("Sqrt", (x * x).sum(axis))
    return [norm.equals(0).where(g.zeros_like(), (g - slope * (g * y).sum(axis)) / norm)]


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


def leaves_alone(op: Operation) -> bool:
    """Whether a reduction over no axes is told to change nothing; without that it is over all."""
    return bool(op.attribute("noop_with_empty_axes", 0)) and not _has_axes(op)


def unreduced(op: Operation, y: Value) -> Value:
    """`y` with the reduced axes back, of length one, ready to broadcast against the input."""
    return y if op.attribute("keepdims", 1) or leaves_alone(op) else y.unsqueeze(_axes(op))


def _likewise(op: Operation, operator: str, values: Value) -> Value:
    """Values of the input's shape reduced over the same axes, which stay with length one.

    Axes that are computed may turn out to be none, which means what the operator says it does.
    """
    noop = op.attribute("noop_with_empty_axes", 0)
    return op.build.emit(operator, values, _axes(op), noop_with_empty_axes=noop)


def _axes(op: Operation) -> Value:
    return op.inputs[1] if _has_axes(op) else op.build.integers(range(op.inputs[0].rank))


def _has_axes(op: Operation) -> bool:
    """Whether any are named; what is computed is taken to name some."""
    known = op.constant(1)
    return op.has_input(1) if known is None else bool(known.size)
