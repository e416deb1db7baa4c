"""Layer-wise relevance propagation by the ε- and γ-rules, in the form of modified gradients.

Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
Propagation", PLOS ONE 2015, doi:10.1371/journal.pone.0130140; Montavon et al., "Layer-Wise
Relevance Propagation: An Overview", 2019, §10.2.

Carried backwards is relevance / activation, so that the relevance of an input is input · answer.
Rectifiers and everything that moves elements pass it on like a gradient; a layer z = W x + b scales
it by z / (z + ε sign z). γ favours what agrees with the sign of z, as zennit generalises it to
inputs of both signs. As ε and γ go to zero the answer is the gradient. Biases absorb relevance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, Rule, RuleTable
from services.explanation.backprop.values import Value

EPSILON = 1e-6
GAMMA = 0.25

PASSED = (
    *(
        "Identity",
        "Dropout",
        "Cast",
        "Relu",
        "MaxPool",
        "GlobalMaxPool",
        "Concat",
        "Split",
        "Slice",
    ),
    *("Gather", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Pad"),
    *("Clip", "DepthToSpace", "SpaceToDepth", "Tile", "ReduceMax"),
)
SUMS = (
    *("Add", "Sub", "Sum", "Mean", "AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"),
    *("BatchNormalization", "Mul", "Div", "Neg", "Resize"),
)
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def rules(gradient: Mapping[str, Rule], gamma: float) -> RuleTable:
    """The table of one γ; zero is the ε-rule."""
    layers = {
        o: _by_gamma(gradient[o], gamma) if gamma else _by_epsilon(gradient[o]) for o in LAYERS
    }
    sums = {o: _by_epsilon(gradient[o]) for o in SUMS}
    return RuleTable({o: gradient[o] for o in PASSED}, sums, layers)


def _by_epsilon(rule: Rule) -> Rule:
    def propagated(op: Operation, g: Value) -> Gradients:
        _check(op)
        z = op.outputs[0]
        return rule(op, g * z / _stabilised(z))

    return propagated


def _by_gamma(rule: Rule, gamma: float) -> Rule:
    def propagated(op: Operation, g: Value) -> Gradients:
        """Two sets of weights for inputs above zero and two below, by the sign of z."""
        _check(op)
        z, (x, w, *bias) = op.outputs[0], op.inputs
        above, below = op.build.emit("Relu", x), -op.build.emit("Relu", -x)
        favoured = [_raised(v, gamma, 1) for v in (w, *bias)]  # where z is above zero
        disliked = [_raised(v, gamma, -1) for v in (w, *bias)]
        total: list[Value] = []
        for sign, (own, other) in ((1, (favoured, disliked)), (-1, (disliked, favoured))):
            reached = _forward(op, above, own) + _forward(op, below, other[:1])
            is_mine = (z > 0) if sign > 0 else (z < 0)
            share = is_mine.where(g * z / _stabilised(reached), 0)
            to_above = rule(replace(op, inputs=(x, *own)), share)[0]
            to_below = rule(replace(op, inputs=(x, other[0], *own[1:])), share)[0]
            if to_above is None or to_below is None:
                raise op.refusal("no relevance by its first input")
            total.append((x >= 0).where(to_above, to_below))
        return [total[0] + total[1]]

    return propagated


def _raised(v: Value, gamma: float, sign: int) -> Value:
    """Weights with γ times their part above (or below) zero on top."""
    part = v.builder.emit("Relu", v if sign > 0 else -v)
    return (v + part * (gamma * sign)).shaped(v.shape)


def _forward(op: Operation, x: Value, weights: list[Value]) -> Value:
    return replace(op, inputs=(x, *weights)).again(x)


def _stabilised(z: Value) -> Value:
    return z + (z >= 0).where(z.like(EPSILON), z.like(-EPSILON))


def _check(op: Operation) -> None:
    """A product of two tensors that both depend on the input has no relevance rule."""
    products = ("Mul", "Div", *LAYERS)
    if op.node.op_type in products and sum(map(op.is_active, range(len(op.inputs)))) > 1:
        raise op.refusal("a product of two tensors that both depend on the input, in LRP")
