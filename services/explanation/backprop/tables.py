"""The rule sets: the gradient's own table, and those that exchange a few of its entries."""

from __future__ import annotations

from types import MappingProxyType

from services.explanation.backprop import deeplift, lrp
from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators import (
    convolution,
    einsum,
    elementwise,
    indexing,
    linear,
    max_pooling,
    normalisation,
    pooling,
    quantisation,
    recurrent,
    reduction,
    resizing,
    shape,
    unary,
)
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value
from wintergarden.errors import InvalidArgument


def deconvnet_relu(op: Operation, g: Value) -> Gradients:
    """Zeiler, Fergus, ECCV 2014, §2.1: rectify the signal on its way back, whatever the input was.

    https://arxiv.org/abs/1311.2901
    """
    return [op.build.emit("Relu", g)]


def guided_relu(op: Operation, g: Value) -> Gradients:
    """Springenberg et al., "Striving for Simplicity", 2014, §3.4: both masks at once.

    https://arxiv.org/abs/1412.6806
    """
    return [unary.gated(op, op.build.emit("Relu", g))]


def _rectifies(op: Operation) -> bool:
    """Whether a Clip is ReLU6, or another ReLU with a ceiling."""
    low = op.constant(1)
    return low is not None and low.size == 1 and float(low.reshape(())) == 0


def deconvnet_clip(op: Operation, g: Value) -> Gradients:
    """Clip from zero up, such as ReLU6, rectifies like Relu."""
    return deconvnet_relu(op, g) if _rectifies(op) else unary.clip(op, g)


def guided_clip(op: Operation, g: Value) -> Gradients:
    """As `guided_relu`, the ceiling of ReLU6 included."""
    return unary.clip(op, op.build.emit("Relu", g) if _rectifies(op) else g)


GRADIENT = RuleTable(
    unary.rules,
    elementwise.rules,
    linear.rules,
    convolution.rules,
    pooling.rules,
    max_pooling.rules,
    shape.rules,
    indexing.rules,
    reduction.rules,
    normalisation.rules,
    resizing.rules,
    einsum.rules,
    quantisation.rules,
    recurrent.rules,
)

RULES = MappingProxyType(
    {
        "gradient": GRADIENT,
        "guided": GRADIENT.overridden_by({"Relu": guided_relu, "Clip": guided_clip}),
        "deconvnet": GRADIENT.overridden_by({"Relu": deconvnet_relu, "Clip": deconvnet_clip}),
        "deeplift": RuleTable({o: GRADIENT[o] for o in deeplift.LINEAR}, deeplift.rules),
        "lrp_epsilon": lrp.rules(GRADIENT, gamma=0.0),
        "lrp_gamma": lrp.rules(GRADIENT, gamma=lrp.GAMMA),
    }
)

COMPARING = frozenset({"deeplift"})
"""Rules that need the forward pass on a baseline beside the one on the input."""

FOLDING = frozenset({"lrp_epsilon", "lrp_gamma"})
"""Rules that see BatchNormalization as part of the layer before it."""


def table(rule: str) -> RuleTable:
    """The rule set of a name.

    Raises:
        InvalidArgument: there is none of that name.
    """
    if rule not in RULES:
        raise InvalidArgument(f"unknown rule '{rule}'; known are {', '.join(RULES)}", "rule")
    return RULES[rule]
