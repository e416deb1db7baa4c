"""DeepLIFT's rescale rule, complete through products, divisions and normalisations.

Shrikumar, Greenside, Kundaje, "Learning Important Features Through Propagating Activation
Differences", ICML 2017, §3.5.1. https://arxiv.org/abs/1704.02685

A multiplier takes the place of each derivative, such that multiplier · (x − baseline) is exactly
the change of the output. A function of one number has the slope of its secant. A product of two
factors that both change has the midpoint of the other factor, which is the Shapley value of the two
(departure from the paper, which leaves products out). What is made of such steps
(LayerNormalization, recurrent layers) chains their multipliers; Softmax goes by its logarithm, so
that passes far apart add up too. Operators that are linear in what changes keep their gradient;
where an index or a mask depends on the input the sum has a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators import (
    elementwise,
    linear,
    max_pooling,
    reduction,
    unary,
)
from services.explanation.backprop.operators.einsum import einsum
from services.explanation.backprop.operators.indexing import put_back
from services.explanation.backprop.operators.normalisation import mean_over_channels
from services.explanation.backprop.operators.recurrent import PassOf, derivative, recurrent_by
from services.explanation.backprop.rules import Gradients, Rule, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()

NEAR = 1e-2
"""Below this difference a secant of float32 is rounding, and the derivative at the midpoint, which
is off by the square of the difference, is closer."""

TOUCHING = 1e-6
"""The same for functions that are straight on both sides of a kink."""

LOWEST, LOWEST_OF_16_BITS = -1e30, -6e4
"""What the logarithm of nothing counts as in a Softmax."""

LINEAR = (
    *("Identity", "Dropout", "Cast", "Neg", "Add", "Sub", "Sum", "Mean", "Where"),
    *("Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Compress", "TopK"),
    *("Pad", "Tile", "Trilu", "ReverseSequence", "DepthToSpace", "SpaceToDepth", "Resize"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "CumSum"),
    *("ReduceSum", "ReduceMean", "AveragePool", "GlobalAveragePool", "MaxUnpool"),
    *("Conv", "ConvTranspose", "BatchNormalization", "ScatterElements", "ScatterND"),
    *("QuantizeLinear", "DequantizeLinear", "Floor", "Ceil", "Round", "Sign", "Hardmax"),
)
"""Operators whose gradient is their multiplier. The last two lines' steps count as gaps."""


@rules(
    *("Sigmoid", "Tanh", "Erf", "Softplus", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh"),
    *("Gelu", "Mish", "Softsign", "Swish", "Elu", "Celu", "Selu"),
)
def curve(op: Operation, g: Value) -> Gradients:
    """A function of one number, smooth or nearly so."""
    x, base, y, y_base = _pairs(op)
    middle = (x + base) * 0.5
    around = op.again(middle + NEAR / 2) - op.again(middle - NEAR / 2)
    slope = _secant(x - base, y - y_base, around / NEAR, NEAR)
    return [g * slope]


@rules("HardSigmoid", "HardSwish", "ThresholdedRelu", "Shrink", "PRelu")
def bent(op: Operation, g: Value) -> Gradients:
    """Straight pieces without a derivative of their own here."""
    if op.is_active(1):
        raise op.refusal("a slope that depends on the input")
    x, base, y, y_base = _pairs(op)
    around = op.again(x + NEAR / 2) - op.again(x - NEAR / 2)
    slope = _secant(x - base, y - y_base, around / NEAR, TOUCHING)
    return [g * slope, *[None] * (len(op.inputs) - 1)]


def _kinked(rule: Rule) -> Rule:
    """Straight pieces, with the derivative of the gradient's rule where the inputs agree."""

    def multiplied(op: Operation, g: Value) -> Gradients:
        x, base, y, y_base = _pairs(op)
        local = rule(op, x.like(1).expand_like(x))[0]
        if local is None:
            raise op.refusal("no derivative")
        slope = _secant(x - base, y - y_base, local, TOUCHING)
        return [g * slope, *[None] * (len(op.inputs) - 1)]

    return multiplied


for _name in ("Relu", "LeakyRelu", "Clip", "Abs"):
    rules(_name)(_kinked(unary.rules[_name]))


@rules("Exp")
def exp(op: Operation, g: Value) -> Gradients:
    x, base, y, y_base = _pairs(op)
    return [g * _exp_secant(x, base, y, y_base)]


@rules("Log")
def log(op: Operation, g: Value) -> Gradients:
    return [g * _log_secant(*_pairs(op))]


@rules("Sqrt")
def sqrt(op: Operation, g: Value) -> Gradients:
    _, _, y, y_base = _pairs(op)
    return [g / (y + y_base)]


@rules("ReduceL2")
def reduce_l2(op: Operation, g: Value) -> Gradients:
    """(y − y_base) (y + y_base) = Σ (x − base) (x + base); rows of zeros have no share."""
    x, base, y, y_base = _pairs(op)
    total = reduction.unreduced(op, y + y_base)
    safe = total.equals(0).where(total.like(1), total)
    return [(x + base) * (reduction.unreduced(op, g) / safe), None]


@rules("Reciprocal")
def reciprocal(op: Operation, g: Value) -> Gradients:
    _, _, y, y_base = _pairs(op)
    return [-(g * y * y_base)]


@rules("Pow", broadcasts=True)
def power(op: Operation, g: Value) -> Gradients:
    """Closed forms for the usual exponents; others are curves."""
    if op.is_active(1):
        raise op.refusal("an exponent that depends on the input")
    x, base, y, y_base = _pairs(op)
    exponent = op.constant(1)
    known = float(exponent) if exponent is not None and exponent.size == 1 else None
    if known == 2:
        return [g * (x + base), None]
    if known == 3:
        return [g * (x * x + x * base + base * base), None]
    if known == 0.5:
        return [g / (y + y_base), None]
    if known == -1:
        return [-(g * y * y_base), None]
    middle = (x + base) * 0.5
    scale = middle.equals(0).where(middle.like(1), middle)  # what is near is a matter of size
    to = op.inputs[1].cast(x.elem_type)
    derivative = to * middle ** elementwise.one_less(to)
    slope = _secant((x - base) / scale, y - y_base, scale * derivative, NEAR)
    return [g * slope / scale, None]


def _midpoint(rule: Rule, operands: int = 2) -> Rule:
    """Bilinear operators: the gradient at the midpoint of both operands."""

    def multiplied(op: Operation, g: Value) -> Gradients:
        if sum(map(op.is_active, range(operands))) > 2:
            raise op.refusal("more than two operands depend on the input")
        return rule(replace(op, inputs=tuple(_middle(op, x) for x in op.inputs)), g)

    return multiplied


for _name, _family in {"Mul": elementwise, "MatMul": linear, "Gemm": linear}.items():
    rules(_name)(_midpoint(_family.rules[_name]))
rules("Einsum")(_midpoint(einsum, operands=26))


@rules("Div", broadcasts=True)
def div(op: Operation, g: Value) -> Gradients:
    """The product of a with 1 / b."""
    a, b = op.inputs
    b_base = op.baseline(b)
    inverse, inverse_base = 1 / b, 1 / b_base
    by_inverse = g * _middle(op, a)
    return [g * ((inverse + inverse_base) * 0.5), -(by_inverse * inverse * inverse_base)]


@rules("Max", "Min", broadcasts=True)
def extremum(op: Operation, g: Value) -> Gradients:
    """Max of two: b + relu(a − b)."""
    if len(op.inputs) == 1:
        return [g]
    if len(op.inputs) > 2:
        raise op.refusal("more than two operands")
    a, b = op.inputs
    over, over_base = a - b, op.baseline(a) - op.baseline(b)
    if op.node.op_type == "Min":
        over, over_base = -over, -over_base
    risen = [op.build.emit("Relu", x) for x in (over, over_base)]
    side = (over > 0).where(over.like(1), 0)
    share = _secant(over - over_base, risen[0] - risen[1], side, TOUCHING)
    return [g * share, g * (1 - share)]


@rules("MaxPool")
def max_pool(op: Operation, g: Value) -> Gradients:
    """What the maximum gained goes to where it is now, what it lost to where it was.

    As shap and captum do it: both parts add up to g · (y − y_base).
    """
    x, base, y, y_base = _pairs(op)
    winners = max_pooling.winners(op)
    gained, lost = _shares_of_change(op, g, y, y_base)
    total = put_back(winners, gained, x) + put_back(op.baseline(winners), lost, x)
    return [_per_difference(total, x - base)]


@rules("ReduceMax", "ReduceMin", "GlobalMaxPool")
def reduced_extremum(op: Operation, g: Value) -> Gradients:
    """As MaxPool; the winners are asked of the gradient's own rule."""
    if reduction.leaves_alone(op):
        return [g]
    rule = reduction.rules[op.node.op_type]
    x, base, y, y_base = _pairs(op)
    gained, lost = _shares_of_change(op, g, y, y_base)
    now = rule(op, gained)[0]
    before = rule(replace(op, inputs=(base, *op.inputs[1:]), outputs=(y_base,)), lost)[0]
    if now is None or before is None:
        raise op.refusal("no winners")
    return [_per_difference(now + before, x - base), *[None] * (len(op.inputs) - 1)]


@rules("Softmax")
def softmax(op: Operation, g: Value) -> Gradients:
    """Δy = L · Δ(log y), and Δ(log y) = Δx − Δ(log Σ eˣ) by what Σ Δy = 0 asks for.

    L, the logarithmic mean of both outputs, needs no shift: it holds for tops far apart.
    """
    x, base, y, y_base = _pairs(op)
    axis = op.attribute("axis", -1)
    log_y, log_base = (op.build.emit("LogSoftmax", v, axis=axis) for v in (x, base))
    mean = _logarithmic_mean(log_y, log_base, y, y_base)
    return [mean * (g - (g * mean).sum([axis]) / mean.sum([axis]))]


@rules("LogSoftmax")
def log_softmax(op: Operation, g: Value) -> Gradients:
    """Δy = Δx − Δ(log Σ eˣ), as for Softmax."""
    _, _, y, y_base = _pairs(op)
    axis = [op.attribute("axis", -1)]
    share, share_base = (op.build.emit("Exp", v) for v in (y, y_base))
    mean = _logarithmic_mean(y, y_base, share, share_base)
    return [g - mean * (g.sum(axis) / mean.sum(axis))]


@rules("LayerNormalization")
def layer_normalization(op: Operation, g: Value) -> Gradients:
    x, scale = op.inputs[:2]
    if op.is_active(1) or op.is_active(2):
        raise op.refusal("a scale or bias that depends on the input")
    axes = range(op.normalised_axis(op.attribute("axis", -1)), x.rank)
    return [_through_standardising(op, g * scale, axes), *[None] * (len(op.inputs) - 1)]


@rules("InstanceNormalization")
def instance_normalization(op: Operation, g: Value) -> Gradients:
    x, scale = op.inputs[:2]
    per_channel = scale.reshape([-1, *[1] * (x.rank - 2)])
    return [_through_standardising(op, g * per_channel, range(2, x.rank))]


@rules("LRN")
def local_response_normalization(op: Operation, g: Value) -> Gradients:
    """X · s^(−β), s = k + α/n Σ x²."""
    size, beta = op.attribute("size"), op.attribute("beta", 0.75)
    alpha, bias = op.attribute("alpha", 1e-4), op.attribute("bias", 1.0)
    before, after = (size - 1) // 2, size // 2
    x, base, _, _ = _pairs(op)
    s, s_base = (mean_over_channels(v * v, size, before, after) * alpha + bias for v in (x, base))
    shrunk, shrunk_base = s**-beta, s_base**-beta
    middle = (s + s_base) * 0.5
    slope = _secant(s - s_base, shrunk - shrunk_base, middle ** (-beta - 1) * -beta, NEAR)
    echo = mean_over_channels(g * ((x + base) * 0.5) * slope, size, after, before) * alpha
    return [g * ((shrunk + shrunk_base) * 0.5) + echo * (x + base)]


@rules("LSTM", "GRU", "RNN")
def recurrent(op: Operation, g: Value) -> Gradients:
    return recurrent_by(Secants, op)


class Secants:
    """The multipliers of a recurrent layer's step."""

    def __init__(self, op: Operation, pass_of: PassOf) -> None:
        self._pass = pass_of(op.inputs, op.outputs)
        baselines = [[op.baseline(v) if v else v for v in vs] for vs in (op.inputs, op.outputs)]
        self._base = pass_of(*baselines)

    def activation(self, function: str, name: str) -> Value:
        x, base = self._pass[f"{name}_in"], self._base[f"{name}_in"]
        y, y_base = self._pass[name], self._base[name]
        middle = x.builder.emit(function, (x + base) * 0.5)
        near = TOUCHING if function == "Relu" else NEAR
        return _secant(x - base, y - y_base, derivative(function, middle), near)

    def factor(self, name: str) -> Value:
        return (self._pass[name] + self._base[name]) * 0.5


def _pairs(op: Operation) -> tuple[Value, Value, Value, Value]:
    """The first input and output, each followed by its baseline."""
    x, y = op.inputs[0], op.outputs[0]
    return x, op.baseline(x), y, op.baseline(y)


def _middle(op: Operation, x: Value) -> Value:
    base = op.baseline(x)
    return x if base.name == x.name else ((x + base) * 0.5).shaped(x.shape)


def _secant(dx: Value, dy: Value, derivative: Value, near: float) -> Value:
    """Dy / dx, and the derivative where dx is smaller than `near`."""
    is_near = dx.builder.emit("Abs", dx) < near
    return is_near.where(derivative, dy / is_near.where(dx.like(1), dx))


def _exp_secant(x: Value, base: Value, y: Value, y_base: Value) -> Value:
    """Where near, e^middle · sinh(d/2) / (d/2) by its series."""
    difference = x - base
    square = difference * difference * 0.25
    middle = x.builder.emit("Exp", (x + base) * 0.5)
    series = middle * (square / 6 * (square / 20 + 1) + 1)
    return _secant(difference, y - y_base, series, 0.5)


def _log_secant(x: Value, base: Value, y: Value, y_base: Value) -> Value:
    """Where near, 2 artanh(u) / d with u = d / (x + base), by its series."""
    total = x + base
    ratio = (x - base) / total
    series = (ratio * ratio / 3 + 1) * 2
    return _secant(ratio, y - y_base, series, NEAR) / total


def _logarithmic_mean(x: Value, base: Value, y: Value, y_base: Value) -> Value:
    """(y − y_base) / (x − base) of y = eˣ. What a mask set to −∞ stays comparable."""
    lowest = x.like(LOWEST_OF_16_BITS if x.dtype.itemsize == 2 else LOWEST)
    x, base = (v.builder.emit("Max", v, lowest) for v in (x, base))
    return _exp_secant(x, base, y, y_base)


def _through_standardising(op: Operation, g: Value, axes: Sequence[int]) -> Value:
    """(x − mean) · 1 / √(mean of squares + ε)."""
    x, base, _, _ = _pairs(op)
    centred, centred_base = x - x.mean(axes), base - base.mean(axes)
    epsilon = op.attribute("epsilon", 1e-5)
    root, root_base = (
        op.build.emit("Sqrt", (c * c).mean(axes) + epsilon) for c in (centred, centred_base)
    )
    inverse, inverse_base = 1 / root, 1 / root_base
    both = centred + centred_base
    by_inverse = (g * both).mean(axes) * 0.5
    by_variance = -(by_inverse * inverse * inverse_base / (root + root_base))
    by_centred = g * ((inverse + inverse_base) * 0.5) + by_variance * both
    return by_centred - by_centred.mean(axes)


def _shares_of_change(op: Operation, g: Value, y: Value, base: Value) -> tuple[Value, Value]:
    """G · (y − base), split at the larger of the two (the smaller, for minima)."""
    crossed = op.build.emit("Min" if op.node.op_type == "ReduceMin" else "Max", y, base)
    return g * (crossed - base), g * (y - crossed)


def _per_difference(total: Value, difference: Value) -> Value:
    """What has not changed has had no part."""
    is_near = difference.builder.emit("Abs", difference) < TOUCHING
    return is_near.where(total.zeros_like(), total / is_near.where(difference.like(1), difference))
