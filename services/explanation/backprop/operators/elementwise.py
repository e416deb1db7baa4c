"""Functions of several tensors, element by element, with broadcasting."""

from __future__ import annotations

import functools
import operator

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("Add", "Sum", broadcasts=True)
def add(op: Operation, g: Value) -> Gradients:
    return [g] * len(op.inputs)


@rules("Mean", broadcasts=True)
def mean(op: Operation, g: Value) -> Gradients:
    return [g / len(op.inputs)] * len(op.inputs)


@rules("Sub", broadcasts=True)
def sub(op: Operation, g: Value) -> Gradients:
    return [g, -g]


@rules("Mul", broadcasts=True)
def mul(op: Operation, g: Value) -> Gradients:
    a, b = op.inputs
    return [g * b, g * a]


@rules("Div", broadcasts=True)
def div(op: Operation, g: Value) -> Gradients:
    (_, b), (y,) = op.inputs, op.outputs
    return [g / b, -(g * y / b)]


@rules("Mod", broadcasts=True)
def mod(op: Operation, g: Value) -> Gradients:
    """A mod b = a − n b with a whole n that does not change between the jumps."""
    (a, b), (y,) = op.inputs, op.outputs
    return [g, -(g * op.build.emit("Round", (a - y) / b))]


@rules("Pow", broadcasts=True)
def power(op: Operation, g: Value) -> Gradients:
    (a, b), (y,) = op.inputs, op.outputs
    exponent = b.cast(a.elem_type)
    return [g * exponent * a ** (exponent - 1), g * y * op.build.emit("Log", a)]


@rules("Max", "Min", broadcasts=True)
def extremum(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    wins = [x.equals(y).cast(g.elem_type) for x in op.inputs]
    winners = functools.reduce(operator.add, wins)
    return [g * win / winners for win in wins]  # ties share, as in torch.maximum


@rules("Where", broadcasts=True)
def where(op: Operation, g: Value) -> Gradients:
    condition, _, _ = op.inputs
    return [None, condition.where(g, 0), condition.where(g.zeros_like(), g)]
