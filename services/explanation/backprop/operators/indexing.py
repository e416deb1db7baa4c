"""Operators that pick elements: backwards, what was picked is put back among zeros."""

from __future__ import annotations

import numpy as np

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("Slice", "Gather", "GatherElements", "GatherND")
def pick(op: Operation, g: Value) -> Gradients:
    """The operator itself, let loose on 0, 1, 2, …, tells where each element came from."""
    x, *indices = op.inputs
    zero, one = op.build.constant(np.int64(0)), op.build.constant(np.int64(1))
    positions = op.build.emit("Range", zero, x.size(), one).reshape_like(x)
    return [put_back(op.again(positions), g, x), *[None] * len(indices)]


def put_back(positions: Value, g: Value, x: Value) -> Value:
    """Zeros shaped like `x` with `g` added at flat `positions`; one that occurs twice adds up."""
    zeros = x.builder.emit("Expand", x.like(0), x.size().reshape([1]))
    scattered = g.builder.emit(
        "ScatterElements",
        zeros,
        positions.reshape([-1]),
        g.reshape([-1]),
        axis=0,
        reduction="add",
    )
    return scattered.reshape_like(x)
