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
    return [g * exponent * a ** one_less(exponent), g * y * op.build.emit("Log", a)]


def one_less(exponent: Value) -> Value:
    """The exponent of a derivative; of x⁰, which is flat at zero as well, none."""
    return exponent.equals(0).where(exponent, exponent - 1)


@rules("Max", "Min", broadcasts=True)
def extremum(op: Operation, g: Value) -> Gradients:
    """Ties share, as in torch.maximum. In 16 bits the output may be rounded where they are not."""
    if len(op.inputs) == 1:
        return [g]
    reaches = operator.ge if op.node.op_type == "Max" else operator.le
    wins = [
        op.build.emit("Min", *(reaches(x, z).cast(g.elem_type) for z in op.inputs if z is not x))
        for x in op.inputs
    ]
    winners = functools.reduce(operator.add, wins)
    return [g * win / winners for win in wins]


@rules("Where", broadcasts=True)
def where(op: Operation, g: Value) -> Gradients:
    condition, _, _ = op.inputs
    return [None, condition.where(g, 0), condition.where(g.zeros_like(), g)]
