"""Normalisations by constants of the model, by statistics of the input, by neighbours.

GroupNormalization, RMSNormalization and MeanVarianceNormalization are ONNX functions and are
expanded into the primitives of the other files.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto

from services.explanation.backprop.broadcasting import reduce_to
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


@rules("LayerNormalization")
def layer_normalization(op: Operation, g: Value) -> Gradients:
    """Ba, Kiros, Hinton, 2016. https://arxiv.org/abs/1607.06450"""
    x, scale = op.inputs[:2]
    axes = range(op.normalised_axis(op.attribute("axis", -1)), x.rank)
    standard, inverse = _layer_standardised(op, axes)
    slopes = _through_standardising(g * scale, standard, inverse, axes)
    full = op.outputs[0].shape
    bias = [reduce_to(g.shaped(full), op.inputs[2])] if op.has_input(2) else []
    return [slopes, reduce_to((g * standard).shaped(full), scale), *bias]


@rules("InstanceNormalization")
def instance_normalization(op: Operation, g: Value) -> Gradients:
    """Ulyanov, Vedaldi, Lempitsky, 2016. https://arxiv.org/abs/1607.08022"""
    x, scale = op.inputs[:2]
    axes = range(2, x.rank)
    standard, inverse = _standardised(op, axes)
    per_channel = scale.reshape([-1, *[1] * (x.rank - 2)])
    return [_through_standardising(g * per_channel, standard, inverse, axes)]


@rules("LRN")
def local_response_normalization(op: Operation, g: Value) -> Gradients:
    """Y = x s^(−β), s = k + α/n Σ x² over n neighbouring channels.

    Krizhevsky, Sutskever, Hinton, NeurIPS 2012, §3.3; the window is transposed on the way back.
    """
    (x,), (y,) = op.inputs, op.outputs
    size, beta = op.attribute("size"), op.attribute("beta", 0.75)
    alpha, bias = op.attribute("alpha", 1e-4), op.attribute("bias", 1.0)
    before, after = (size - 1) // 2, size // 2
    s = mean_over_channels(x * x, size, before, after) * alpha + bias
    echo = mean_over_channels(g * y / s, size, after, before)
    return [g * s**-beta - x * echo * (2 * alpha * beta)]


def _layer_standardised(op: Operation, axes: Sequence[int]) -> tuple[Value, Value]:
    """As `_standardised`, by the operator itself: in one pass over the tensor instead of six."""
    x, scale = op.inputs[:2]
    if x.elem_type != TensorProto.FLOAT:  # it would give the root in float32 whatever `x` is
        return _standardised(op, axes)
    told = {"axis": op.attribute("axis", -1), "epsilon": op.attribute("epsilon", 1e-5)}
    ones = scale.like(1).expand_like(scale)
    standard, _, inverse = op.build.emit_many("LayerNormalization", x, ones, count=3, **told)
    return standard, inverse


def _standardised(op: Operation, axes: Sequence[int]) -> tuple[Value, Value]:
    """(x − mean) / √(variance + ε) over `axes`, and the inverse of the root."""
    x = op.inputs[0]
    centred = x - x.mean(axes)
    variance = (centred * centred).mean(axes)
    inverse = 1 / op.build.emit("Sqrt", variance + op.attribute("epsilon", 1e-5))
    return centred * inverse, inverse


def _through_standardising(g: Value, standard: Value, inverse: Value, axes: Sequence[int]) -> Value:
    """A gradient loses its mean and its part along the standardised tensor."""
    return (g - g.mean(axes) - standard * (g * standard).mean(axes)) * inverse


def mean_over_channels(x: Value, size: int, before: int, after: int) -> Value:
    """Σ over a window of channels / size; channels beyond the ends count as zeros."""
    build = x.builder
    flat = x.reshape(
        build.concat([x.dims(0, 1), build.integers([1]), x.dims(1, 2), build.integers([-1])])
    )
    pads = [before, 0, after, 0]
    mean = build.emit("AveragePool", flat, kernel_shape=[size, 1], pads=pads, count_include_pad=1)
    return mean.reshape_like(x)
