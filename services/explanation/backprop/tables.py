"""The rule sets: the gradient's own table, and those that exchange a few of its entries."""

from __future__ import annotations

from types import MappingProxyType

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators import (
    convolution,
    einsum,
    elementwise,
    indexing,
    linear,
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
    return [(op.outputs[0] > 0).where(op.build.emit("Relu", g), 0)]


GRADIENT = RuleTable(
    unary.rules,
    elementwise.rules,
    linear.rules,
    convolution.rules,
    pooling.rules,
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
        "guided": GRADIENT.overridden_by({"Relu": guided_relu}),
        "deconvnet": GRADIENT.overridden_by({"Relu": deconvnet_relu}),
    }
)


def table(rule: str) -> RuleTable:
    """The rule set of a name.

    Raises:
        InvalidArgument: there is none of that name.
    """
    if rule not in RULES:
        raise InvalidArgument(f"unknown rule '{rule}'; known are {', '.join(RULES)}", "rule")
    return RULES[rule]
