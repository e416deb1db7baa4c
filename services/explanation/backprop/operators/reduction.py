"""Sums, means and extrema over axes: backwards, every element gets its part."""

from __future__ import annotations

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
